"""Record of the versions, devices and command line of a run."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

import memotr
from memotr.addresses import without_secrets
from memotr.documents import DocumentError, read_json
from memotr.errors import UserError
from memotr.files import replacing
from memotr.terminal import printable

PACKAGES = (
    "torch",
    "lightning-fabric",
    "numpy",
    "scipy",
    "numba",
    "triton",
    "opencv-python-headless",
    "pydantic",
    "transformers",
)


def describe_environment(fabric: Fabric) -> dict[str, Any]:
    """Return versions, devices and command line as values for JSON; passwords in addresses are removed."""
    cuda = fabric.device.type == "cuda"
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [printable(without_secrets(argument)) for argument in sys.argv],
        "memotr": memotr.__version__,
        "commit": _commit(Path(memotr.__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "cuda": torch.version.cuda,
        "ranks": fabric.world_size,
        "device": torch.cuda.get_device_name(fabric.device) if cuda else str(fabric.device),
        "threads": torch.get_num_threads(),
    }


def append_environment(file: Path, environment: dict[str, Any]) -> None:
    """Add an entry to a JSON list with one entry for every start of the run. Raises UserError if it is damaged."""
    try:
        starts = read_json(file) if file.is_file() else []
    except DocumentError:
        starts = None
    if not isinstance(starts, list):
        raise UserError(f"{file}: is damaged; move it away to continue the run")
    with replacing(file) as beside:
        beside.write_text(json.dumps([*starts, environment], indent=2, allow_nan=False) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """Return the commit of a git checkout, with "+changes" if files differ from it; None outside of a checkout."""
    git = shutil.which("git")
    if git is None or not any((parent / ".git").exists() for parent in folder.parents):
        return None

    def ask(*arguments: str) -> str:
        command = [git, "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    commit = ask("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and ask("status", "--porcelain", "--", ".") else commit or None
