"""What the processor here is, and what it can do."""

import platform
from collections.abc import Mapping
from pathlib import Path


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Mapping[str, str]:
    """Return what tells one kind of processor from another: `machine`, `model`, `flags`."""
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    told = {name.strip(): value.strip() for name, value in fields.items()}
    return {
        "machine": platform.machine(),
        "model": told.get("model name", ""),
        "flags": told.get("flags", told.get("Features", "")),
    }


def has_bf16(flags: str) -> bool:
    """Tell whether a processor of these flags computes with 16-bit `bfloat16` numbers itself."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())
