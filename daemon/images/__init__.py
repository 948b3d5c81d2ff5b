"""From the bytes of a file to upright RGB pixels and facts: pure functions, for workers alone."""
