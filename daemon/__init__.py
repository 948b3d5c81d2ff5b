"""The engine of classifyd: it knows files, batches, models and a database, and no plugin."""
