"""The configuration: strict settings, where each value came from, and errors that say the remedy.

Loads neither plugins nor a database, Keras, numpy or Pillow.
"""

from daemon.config.loading import DEFAULT_TEMPLATE, Loaded, load
from daemon.config.sections import BatchSettings, DecodeSettings, LogSettings, ModelSettings
from daemon.config.selection import Selection
from daemon.config.settings import Settings

__all__ = [
    "DEFAULT_TEMPLATE",
    "BatchSettings",
    "DecodeSettings",
    "Loaded",
    "LogSettings",
    "ModelSettings",
    "Selection",
    "Settings",
    "load",
]
