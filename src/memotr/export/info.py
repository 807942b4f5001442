"""Description of an exported tracker for ``memotr info``."""

from __future__ import annotations

import shlex
from pathlib import Path

from memotr.export.archive import DESCRIPTION, open_archive
from memotr.export.description import read_config, read_texts
from memotr.export.engines import choose_export
from memotr.export.onnx_file import read_metadata
from memotr.weights.describe import in_short

KINDS = {"onnx": "exported tracker, ONNX", "pt2": "exported tracker, torch.export program"}


def describe_export(path: str | Path) -> dict[str, str]:
    """Return topic → text about kind, origin and use of a file, in the order of display.

    Of a .pt2 file only the description is read.

    Raises:
        UserError: the file does not exist, or was not made by ``memotr export``.
    """
    path = Path(path)
    kind = choose_export(path)
    if kind == "onnx":
        texts = read_metadata(path)
    else:
        with open_archive(path) as archive:
            texts = read_texts(archive.read(DESCRIPTION), str(path))
    return {
        "file": str(path),
        "size": f"{path.stat().st_size / 1e6:.1f} MB",
        "kind": KINDS[kind],
        **in_short(read_config(texts, str(path))),
        "use": f"memotr track SOURCE --checkpoint {shlex.quote(str(path))}",
    }
