"""Reading and writing of weights files, without running code from them."""

from __future__ import annotations

import argparse
import math
import mmap
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from memotr.errors import UserError, first_line
from memotr.files import replacing

_NOT_WEIGHTS = {
    b"<": "is a web page, not a checkpoint: the link leads to a login or confirmation page; download it in a browser",
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`",
    b"\x1f\x8b": "is compressed (gzip): unpack it and pass the file inside",
}
"""First bytes of files that are often mistaken for a checkpoint → description."""

_DAMAGED = "it is of another kind, damaged, or its download did not finish"

_ALLOCATES = re.compile(rb"builtin(?:s|__)\nbytearray\n")
"""Pickle of a bytearray of any size. PyTorch allows it, and no checkpoint has one."""

MAX_PICKLE_BYTES = 8 * 2**20
"""Largest size in bytes of the pickle in a zip archive; those of our training checkpoints are below a million."""

EXPORTED = (".onnx", ".pt2")

_INTEGERS = {"b1": "?", "i1": "b", "i2": "<h", "i4": "<i", "i8": "<q", "u1": "B", "u2": "<H", "u4": "<I", "u8": "<Q"}
_NUMBERS = _INTEGERS | {"f2": "<e", "f4": "<f", "f8": "<d"}
"""Code of a NumPy type → format of :mod:`struct`, little-endian as on all usual machines."""


class _Dropped:
    """Replacement for a value that is not used, such as a path; its content is dropped."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class _NumpyType:
    """Replacement for ``numpy.dtype``."""

    def __init__(self, code: object, *_: object) -> None:
        self.format = _NUMBERS.get(code) if isinstance(code, str) else None

    def __setstate__(self, state: tuple[object, ...]) -> None:
        if state[1] == ">":
            self.format = None


def _numpy_scalar(kind: _NumpyType, data: bytes) -> float | None:
    """Return a NumPy scalar as a Python number; None for strings and other types."""
    return struct.unpack(kind.format, data)[0] if kind.format else None


_STAND_INS: list[Any] = [
    argparse.Namespace,  # not replaced: official detectors store their command line in it, and reading it runs no code
    (_NumpyType, "numpy.dtype"),
    (_Dropped, "numpy.ndarray"),
    *((_numpy_scalar, f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")),
    *((_Dropped, f"numpy.{core}.multiarray._reconstruct") for core in ("_core", "core")),
    *((_Dropped, f"pathlib.{name}") for name in ("PosixPath", "WindowsPath", "_local.PosixPath", "_local.WindowsPath")),
]
"""Classes and functions, in addition to PyTorch's, that a file may contain, with their replacements.

NumPy's own functions would take sizes and memory layouts from the file unchecked.
"""


def check_file(path: Path) -> None:
    """Raise UserError for files that are not weights; the message names their kind."""
    if path.suffix in EXPORTED and path.is_file():
        raise UserError(
            f"{path}: is an exported tracker, for `memotr track` only; give the weights that it was exported from"
        )
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise UserError(f"{path}: is empty; download it again")
    for beginning, description in _NOT_WEIGHTS.items():
        if head.lstrip().startswith(beginning):
            raise UserError(f"{path}: {description}")
    if head.startswith(b"PK"):
        _check_zip(path)


def is_safetensors(path: Path) -> bool:
    """Return whether a file is safetensors by its name or its first bytes (a length, then JSON)."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and metadata of a safetensors file. Raises UserError if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except MemoryError:
        raise
    except Exception as error:  # SafetensorError, and PyTorch's errors about sizes
        raise UserError(f"{path}: not readable as safetensors ({first_line(error)}): {_DAMAGED}") from None
    _check_tensors(path, tensors)
    return tensors, metadata


def read_torch(path: Path) -> Any:
    """Read a ``torch.save`` file of tensors and plain values. Raises UserError for other content."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"  # checked by check_file
    if not zipped:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _check_pickle(path, content)
    try:
        with torch.serialization.safe_globals(_STAND_INS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other protocols
            # Mapped, because most of a training checkpoint belongs to the optimiser and is not used here.
            payload = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except MemoryError:
        raise
    except Exception as error:  # damaged files raise errors of any class
        refused = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if refused is None:
            raise UserError(f"{path}: not readable as a PyTorch checkpoint: {_DAMAGED}") from None
        raise UserError(
            f"{path}: refused, because besides tensors it contains {refused[1]}, and reading that could run code; "
            "save only its weights with the program that wrote it: torch.save({'model': model.state_dict()}, FILE)"
        ) from None
    _check_tensors(path, payload)
    return payload


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError if values of a tensor are NaN or infinite, because such a tracker detects nothing."""
    broken = [name for name, t in state.items() if t.is_floating_point() and t.itemsize > 1 and not _is_finite(t)]
    if broken:
        listed = ", ".join(broken[:2]) + (", ..." if len(broken) > 2 else "")
        raise UserError(
            f"{path}: {len(broken)} of its {len(state)} tensors contain NaN or infinity ({listed}): the training "
            "diverged or the file is damaged; use an earlier checkpoint, or copy the file again"
        )


def _is_finite(tensor: Tensor) -> bool:
    """Return whether no value is NaN or infinite, by its extremes, in a tenth of the time of ``isfinite().all()``."""
    return not tensor.numel() or all(math.isfinite(extreme.item()) for extreme in tensor.aminmax())


def cast(state: Mapping[str, Tensor], dtype: torch.dtype, path: Path) -> dict[str, Tensor]:
    """Convert floating-point tensors to ``dtype`` for the file ``path``. Raises UserError if one exceeds its range."""
    tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    for name, tensor in tensors.items():
        if _is_finite(state[name]) and not _is_finite(tensor):
            raise UserError(f"{path}: not written, {name} has values beyond the range of {dtype}; keep full precision")
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file. Raises UserError if it cannot be written."""
    with replacing(path) as beside:  # save_file of safetensors makes files that only their owner can read
        beside.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def write_torch(path: Path, payload: Any) -> None:
    """Write a file with ``torch.save``. Raises UserError if it cannot be written."""
    with replacing(path) as beside, beside.open("wb") as file:
        try:
            torch.save(payload, file)
        except RuntimeError as error:
            # PyTorch reports an incomplete archive instead of the cause: a full disk, or an error or KeyboardInterrupt
            # from a signal handler.
            raise error.__context__ or error from None


def stored_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by name.

    Raises:
        zipfile.BadZipFile: a member is compressed or duplicate, or the members claim more bytes than the file has, so
            reading them would take more memory than the file.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if member.filename in members:
            raise zipfile.BadZipFile("it has two members of one name")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise zipfile.BadZipFile("a member is compressed")
        members[member.filename] = member
    assert archive.fp is not None
    if sum(member.file_size for member in members.values()) > archive.fp.seek(0, 2):
        raise zipfile.BadZipFile("members overlap")
    return members


def _check_zip(path: Path) -> None:
    """Raise UserError unless a zip archive is a PyTorch checkpoint, with a member data.pkl."""
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path}: ends too early at {path.stat().st_size / 1e6:.1f} MB; download it again")
        with zipfile.ZipFile(path) as archive:
            pickles = {Path(name).name: name for name in archive.namelist() if name.endswith(".pkl")}
            if "data.pkl" not in pickles:
                raise UserError(f"{path}: is an ordinary zip archive; unpack it and pass the checkpoint inside")
            if "constants.pkl" in pickles:
                raise UserError(
                    f"{path}: is a TorchScript program, not a checkpoint; pass the weights that it was made from"
                )
            member = stored_members(archive)[pickles["data.pkl"]]
            if member.file_size > MAX_PICKLE_BYTES:
                raise zipfile.BadZipFile(f"its data.pkl has {member.file_size:,} bytes")
            _check_pickle(path, archive.read(member))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged directories raise errors of any class
        raise UserError(f"{path}: not readable as a PyTorch checkpoint ({first_line(error)}): {_DAMAGED}") from None


def _check_pickle(path: Path, content: bytes | mmap.mmap) -> None:
    if _ALLOCATES.search(content):
        raise UserError(f"{path}: refused, because besides tensors it contains a bytearray, which no checkpoint does")


def _check_tensors(path: Path, payload: Any) -> None:
    """Raise UserError for a tensor with more elements than the file has bytes, and for tensors that are not plain.

    A few bytes can represent any number of elements: repeated ones, or a shape without values.
    """
    size = path.stat().st_size
    for tensor in tensors_in(payload):
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.is_quantized or tensor.is_nested:
            raise UserError(f"{path}: a tensor is sparse, quantized or without values; save plain tensors")
        if tensor.numel() > size or max(tensor.shape, default=0) > size:
            shape = tuple(tensor.shape)
            raise UserError(f"{path}: a tensor of shape {shape} is larger than the file of {size:,} bytes: {_DAMAGED}")


def tensors_in(payload: Any) -> Iterator[Tensor]:
    """Yield the tensors in containers of any depth, visiting each container once."""
    waiting, seen = [payload], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
