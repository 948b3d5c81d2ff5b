"""Stubs and helpers for tests of the engine and of plugins, in the box or outside.

Named under `plugins:` this package is a plugin too: its runtime `brightness` needs neither Keras
nor TensorFlow, so that a real daemon is ready in a second and every answer is known beforehand.
"""

from daemon.testing.process import DEADLINE_S, DaemonProcess, running_daemon, until
from daemon.testing.stubs import (
    CLASSES,
    BrightnessOptions,
    BrightnessRuntime,
    ManualClock,
    RecordingIntake,
    StubExecutor,
    register_runtimes,
    stub_bundle,
    tiny_bundle,
)

__all__ = [
    "CLASSES",
    "DEADLINE_S",
    "BrightnessOptions",
    "BrightnessRuntime",
    "DaemonProcess",
    "ManualClock",
    "RecordingIntake",
    "StubExecutor",
    "register_runtimes",
    "running_daemon",
    "stub_bundle",
    "tiny_bundle",
    "until",
]
