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
from daemon.testing.sinks import (
    Posted,
    Receiver,
    StubSink,
    check_sink,
    make_event,
    running_receiver,
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
    "Posted",
    "Receiver",
    "RecordingIntake",
    "StubExecutor",
    "StubSink",
    "check_gate",
    "check_sink",
    "daemon_process",
    "make_event",
    "make_evidence",
    "running_daemon",
    "running_receiver",
    "stub_bundle",
    "tiny_bundle",
    "until",
    "workers_of",
]
