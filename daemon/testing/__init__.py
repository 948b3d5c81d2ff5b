"""Stubs and helpers for tests of the engine and of plugins, in the box or outside.

`daemon.testing.stubs`, named under `plugins:`, is a plugin: its runtime `brightness` needs
neither Keras nor TensorFlow, so that a real daemon is ready in a second and every answer is known
beforehand.
"""

from daemon.testing.gates import check_gate, make_evidence
from daemon.testing.process import (
    DEADLINE_S,
    DaemonProcess,
    daemon_process,
    running_daemon,
    until,
    workers_of,
)
from daemon.testing.stubs import (
    CLASSES,
    BrightnessOptions,
    BrightnessRuntime,
    ManualClock,
    RecordingIntake,
    StubExecutor,
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
    "check_gate",
    "daemon_process",
    "make_evidence",
    "running_daemon",
    "stub_bundle",
    "tiny_bundle",
    "until",
    "workers_of",
]
