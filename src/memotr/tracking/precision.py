"""Numerical precision of a tracker, and PyTorch's settings of float32 products, which the whole process shares."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, get_args

import torch

from memotr.errors import UserError, warn
from memotr.vocabulary import Precision

INSTRUCTIONS = {
    "bf16": ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16"),
    "fp16": ("avx512_fp16", "amx_fp16", "avx10_2", "fp16_arith"),
}
"""Precision → processors' instructions that multiply in it, by PyTorch's names; any one suffices."""


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Return the precision that is used on a device: "auto" is "tf32" on CUDA devices that have it, else "32".

    Raises:
        UserError: the precision is unknown, or the device does not have it.
    """
    if precision not in get_args(Precision):
        raise UserError(f"unknown precision {precision!r}: choose from {', '.join(get_args(Precision))}")
    if precision == "auto":
        return "tf32" if _has_tf32(device) else "32"
    if precision == "tf32" and not _has_tf32(device):
        raise UserError(f"precision tf32 needs an NVIDIA GPU of 2020 or later, and the device is {device}: choose 32")
    if precision in INSTRUCTIONS and device.type == "cpu":
        known = torch.cpu.get_capabilities()
        if not any(known.get(name) for name in INSTRUCTIONS[precision]):
            _warn_of_slow(precision)
    return precision


def autocast_dtype(precision: Precision) -> torch.dtype | None:
    """Return the autocast dtype of a resolved precision; None for float32 without autocast."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def _has_tf32(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return bool(torch.cuda.is_tf32_supported())


@functools.cache
def _warn_of_slow(precision: Precision) -> None:
    warn(f"precision {precision}: this processor has no instructions for it; 32 may be faster")


class _Settings(NamedTuple):
    """PyTorch's settings of float32 products.

    Attributes:
        matmul: `torch.get_float32_matmul_precision()`.
        cudnn: `torch.backends.cudnn.allow_tf32`.
        newer: `fp32_precision` of the places in ``_PLACES``.
    """

    matmul: str
    cudnn: bool
    newer: tuple[str, ...]


_OPERATIONS = ("matmul", "conv", "rnn")
_PLACES = (
    *((backend, "all") for backend in ("generic", "cuda", "mkldnn")),
    *((backend, operation) for backend in ("cuda", "mkldnn") for operation in _OPERATIONS),
)
"""Backends and operations that have an `fp32_precision`; in an operation, "none" stands for that of its backend."""

_EXACT = _Settings("highest", False, ("none",) * 3 + ("ieee",) * 6)
_ROUNDED = _Settings("high", True, ("none",) * 3 + ("tf32",) * 3 + ("ieee",) * 3)  # CPUs have no TF32

# `torch.backends.….fp32_precision` call these two, but that of `mkldnn` sets another place than it reads.
_read_newer, _write_newer = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter


def _take() -> _Settings:
    """Return the settings as somebody made them, and unset the newer ones."""
    newer = []
    for place in _PLACES:  # backends first, so that operations are read without what they take from them
        newer.append(_read_newer(*place))
        _write_newer(*place, "none")
    matmul = torch.get_float32_matmul_precision()
    for operation in ("conv", "rnn"):
        _write_newer("cuda", operation, "tf32")
    try:
        cudnn = torch.backends.cudnn.allow_tf32
    except RuntimeError:  # PyTorch's refusal of False beside these
        cudnn = False
    return _Settings(matmul, cudnn, tuple(newer))


def _write(settings: _Settings) -> None:
    torch.set_float32_matmul_precision(settings.matmul)  # these two also write newer ones
    torch.backends.cudnn.allow_tf32 = settings.cudnn
    for place, value in zip(_PLACES, settings.newer, strict=True):
        _write_newer(*place, value)


class _Turns:
    """Turns of threads that need the same settings; the last to leave restores those of the user.

    Threads enter in the order of their arrival, so that none waits forever. A thread in a turn must therefore not wait
    for another thread to enter one.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.queue: deque[int] = deque()  # of threads
        self.inside: set[int] = set()
        self.current = self.before = _EXACT

    def enter(self, settings: _Settings) -> None:
        me = threading.get_ident()
        with self.changed:
            self.queue.append(me)
            try:
                self.changed.wait_for(lambda: self.queue[0] == me and (not self.inside or self.current is settings))
                if not self.inside:
                    self.before = _take()
                    self.current = settings
                    _write(settings)
                self.inside.add(me)
            finally:
                self.queue.remove(me)
                self.changed.notify_all()

    def leave(self) -> None:
        with self.changed:
            self.inside.remove(threading.get_ident())
            if not self.inside:
                _write(self.before)
            self.changed.notify_all()


_turns = _Turns()


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Round the inputs of float32 products to TF32 (three digits) at precision "tf32", and at no other.

    PyTorch's settings hold for the whole process, so threads that need others wait. By default, cuDNN rounds the inputs
    of convolutions, and cuBLAS does not round those of matrix products.
    """
    if threading.get_ident() in _turns.inside:
        raise RuntimeError("a tracker cannot be updated within the update of another one")
    _turns.enter(_ROUNDED if precision == "tf32" else _EXACT)
    try:
        yield
    finally:
        _turns.leave()


@contextmanager
def turn_given_up() -> Iterator[None]:
    """Leave the context of :func:`products_in`, if the thread is in one, to wait for threads that may enter it."""
    if threading.get_ident() not in _turns.inside:
        yield
        return
    settings = _turns.current
    _turns.leave()
    try:
        yield
    finally:
        _turns.enter(settings)
