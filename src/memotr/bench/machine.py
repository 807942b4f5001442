"""Description of the machine that a measurement runs on."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import memotr
from memotr.addresses import without_secrets
from memotr.processes import available_processors
from memotr.terminal import printable

INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
"""Instruction sets that affect the speed of matrix products, by their names in Linux."""


def describe_machine(device: torch.device) -> dict[str, str]:
    """Return name → text of the machine's properties, in the order of display."""
    processor = _cpu("model name") or platform.machine()
    found = {
        "processor": f"{processor}, {available_processors()} cores, {torch.get_num_threads()} threads",
        "instructions": " ".join(name for name in INSTRUCTIONS if name in _cpu("flags").split()) or "not known",
        "memory": f"{_memory() / 2**30:.0f} GiB" if _memory() else "not known",
        "load at the start": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "not known",
        "software": ", ".join(_software()),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": printable(shlex.join(["memotr", *map(without_secrets, sys.argv[1:])])),
    }
    return ({"GPU": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}) | found


def _cpu(key: str) -> str:
    """Return an entry of /proc/cpuinfo for the first core; empty on systems without this file."""
    file = Path("/proc/cpuinfo")
    match = re.search(rf"^{key}\s*: (.*)$", file.read_text(), re.MULTILINE) if file.is_file() else None
    return match.group(1) if match else ""


def _memory() -> int:
    """Return the size of the main memory in bytes; 0 if it is unknown."""
    known = hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else 0


def _software() -> list[str]:
    """Return names and versions of the software that affects the speed."""
    found = [f"memotr {memotr.__version__}", f"Python {platform.python_version()}", f"PyTorch {torch.__version__}"]
    if onednn := re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show()):
        found.append(f"oneDNN {onednn.group(1)}")
    for package in ("numba", "triton"):
        try:
            found.append(f"{package.capitalize()} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
