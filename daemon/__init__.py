"""The engine of classifyd: it knows files, batches, models and a database, and no plugin."""

__version__ = "0.1.0"
