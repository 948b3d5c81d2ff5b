"""What a training process takes of the machine."""

import os
import subprocess
import sys

import pytest

PROBE = """
import resource, os, ctypes
from daemon.priority import limit_memory, yield_to_others
yield_to_others()
limit_memory({megabytes})
print(os.nice(0), open("/proc/self/oom_score_adj").read().strip())
print(ctypes.CDLL(None).syscall({ioprio_get}, 1, 0) >> 13)
print(resource.getrlimit(resource.RLIMIT_DATA)[0])
try:
    bytearray(600_000_000)
    print("taken")
except MemoryError:
    print("refused")
"""
IOPRIO_GET = {"x86_64": 252, "aarch64": 31}.get(os.uname().machine)


@pytest.mark.slow  # it yields to whatever else the machine does
@pytest.mark.skipif(IOPRIO_GET is None, reason="the number of a system call is not known here")
@pytest.mark.parametrize(("megabytes", "outcome"), [(500, "refused"), (None, "taken")])
def test_training_yields_and_stays_within_its_memory(megabytes, outcome):
    code = PROBE.format(megabytes=megabytes, ioprio_get=IOPRIO_GET)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    yields, score, disk, most, took = done.stdout.split()
    assert (yields, score, disk, took) == ("19", "500", "3", outcome)  # 3: the class idle
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert int(most) == (whole * 3 // 4 if megabytes is None else 500_000_000)
