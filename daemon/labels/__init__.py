"""Labels as people have them: class names, labels files, class folders; in and out."""
