"""The one tree of errors that a user can meet, each with the exit code the command ends with.

A message names the thing, the value and the remedy; the command line prints it without a
traceback. Anything else that escapes is a bug and keeps its traceback.
"""

import errno

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TRY_AGAIN = 75


class ClassifydError(Exception):
    """Base of everything a user can mend; `exit_code` is what the process returns."""

    exit_code = EXIT_FAILED


class ConfigError(ClassifydError):
    """The configuration is wrong: file, line, key, what was expected, what is close to it."""

    exit_code = EXIT_USAGE


class UsageError(ClassifydError):
    """A command was asked for something that does not exist or makes no sense."""

    exit_code = EXIT_USAGE


class PluginError(ClassifydError):
    """A plugin is unknown, broken, doubled or refuses its options."""

    exit_code = EXIT_USAGE


class DatabaseError(ClassifydError):
    """The database cannot be opened, is newer than the program, or is damaged."""


class PassingDatabaseError(DatabaseError):
    """The database refuses for a reason that may pass by itself: locked, disk full, rights."""


class BusyDatabaseError(PassingDatabaseError):
    """The database is locked or its disk is full, so that waiting is all that a start can do; what
    is wrong with rights, people want to hear at once."""

    exit_code = EXIT_TRY_AGAIN


class DatabaseReplacedError(DatabaseError):
    """Another file lies where the open database was: only a new start opens that one."""

    exit_code = EXIT_TRY_AGAIN


class BusyError(ClassifydError):
    """Somebody else holds what is needed (another daemon on this database): try again later."""

    exit_code = EXIT_TRY_AGAIN


class NoRoomError(ClassifydError):
    """The disk has less room than `disk.min_free` wants: make some and try again."""

    exit_code = EXIT_TRY_AGAIN


class SinkError(ClassifydError):
    """A sink cannot deliver now; `after_s` is how many seconds it asks to be left alone."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class RejectedEventError(SinkError):
    """A sink does not take this one event, and would probably not take it later either."""


class StageError(ClassifydError):
    """A part of the daemon has ended that should go on: the process is to be started anew."""


class BundleError(ClassifydError):
    """A bundle is incomplete, altered, or does not fit what is asked of it."""


class WeightsError(ClassifydError):
    """Pretrained weights are not at hand, or do not fit the network."""


class RuntimeLoadError(ClassifydError):
    """A runtime or its workers could not be started with this bundle."""


class TrainingError(ClassifydError):
    """The images given are not enough, or not fit, to train on."""


class OverBudget(TrainingError):  # noqa: N818
    """A strategy would take longer than the time left in `retrain.budget`."""


class ImageError(ClassifydError):
    """One image cannot be turned into pixels; permanent for these bytes."""


class NotAnImageError(ImageError):
    """The bytes are no image of an accepted format: the file is ignored, not quarantined."""


def is_full(error: OSError) -> bool:
    """Tell whether a disk or a quota is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def way_out(error: OSError) -> str:
    """Say what to do about a place that could not be made or written."""
    match error.errno:
        case errno.EROFS:
            return "mount its disk for writing"
        case errno.ENOSPC | errno.EDQUOT:
            return "make room on its disk"
    return "mend the rights of it and of its folder"
