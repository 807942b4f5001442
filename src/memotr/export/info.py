"""What ``memotr info`` says of an exported tracker."""

from __future__ import annotations

import shlex
from pathlib import Path

from memotr.export.engines import choose_engine, open_engine
from memotr.weights.describe import in_short

KINDS = {"onnx": "exported tracker, ONNX", "pt2": "exported tracker, torch.export program"}


def describe_export(path: str | Path) -> dict[str, str]:
    """What the file is, what it was made of and which command takes it: topic to text, in the order to be shown.

    Raises:
        UserError: there is no such file, or it was not made by ``memotr export``.
    """
    config = open_engine(path, "cpu").config
    size = sum(file.stat().st_size for file in (Path(path), Path(f"{path}.data")) if file.is_file())
    return {
        "file": str(path),
        "size": f"{size / 1e6:.1f} MB",
        "kind": KINDS[choose_engine(path, "auto")],
        **in_short(config),
        "use": f"memotr track SOURCE --checkpoint {shlex.quote(str(path))}",
    }
