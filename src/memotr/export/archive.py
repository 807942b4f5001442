"""Reader of the archive of an exported program, which runs no code from it.

Only members that ``memotr export`` writes are accepted. ``torch.export.load`` is not used, because it can run code from
the archive: pickles, libraries and source text.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memotr.errors import UserError, first_line
from memotr.weights.tensor_files import stored_members

DESCRIPTION = "extra/memotr.json"
GRAPH = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
TENSORS = {
    "weights": "data/weights/model_weights_config.json",
    "constants": "data/constants/model_constants_config.json",
}

_MAX_BYTES = {
    DESCRIPTION: 2**20,
    GRAPH: 2**25,
    **dict.fromkeys(TENSORS.values(), 2**23),
    SAMPLES: 2**20,
    **dict.fromkeys(("archive_format", "archive_version", "byteorder"), 64),
    **dict.fromkeys((".data/version", ".data/serialization_id", "version"), 64),
}
"""Largest size of each member in bytes. Members of tensors may have any size that fits into the file."""

_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,6}")


class Archive:
    """Open archive with a checked list of members.

    Member names do not include the top folder that PyTorch adds.

    Args:
        zipped: open zip file.
        path: its path, for messages.

    Raises:
        UserError: a member is not one that ``memotr export`` writes, or too large.
    """

    def __init__(self, zipped: zipfile.ZipFile, path: Path) -> None:
        self._zipped = zipped
        self._path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        for name, member in stored_members(zipped).items():
            inner = name.partition("/")[2]
            if inner in self._members or not (inner in _MAX_BYTES or _TENSOR.fullmatch(inner)):
                raise UserError(
                    f"{path}: refused, because memotr export with a current PyTorch writes no member {name!r}; "
                    "export the checkpoint again, with PyTorch 2.13 or to .onnx"
                )
            if member.file_size > _MAX_BYTES.get(inner, member.file_size):
                raise UserError(f"{path}: refused, because its member {name!r} has {member.file_size:,} bytes")
            self._members[inner] = member
        if DESCRIPTION not in self._members:
            raise UserError(f"{path}: was not made by `memotr export`")

    def read(self, name: str) -> bytes:
        """Return the content of a member. Raises UserError if it does not exist."""
        if name not in self._members:
            raise UserError(
                f"{self._path}: has no member {name}, because it was written by another version of PyTorch or memotr; "
                "export the checkpoint again"
            )
        return self._zipped.read(self._members[name])

    def __contains__(self, name: str) -> bool:
        return name in self._members


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an exported program.

    Raises:
        UserError: the file cannot be read, is damaged, or contains anything that ``memotr export`` does not write;
            also for damage that is found while the archive is open.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        with file, zipfile.ZipFile(file) as zipped:
            yield Archive(zipped, path)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged archives raise exceptions of any class
        raise UserError(f"{path}: not readable as an exported program ({first_line(error)})") from None
