"""Numerical precision of a tracker, and PyTorch's switches of TF32, which the whole process shares."""

from __future__ import annotations

import functools
import platform
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import get_args

import torch

from memotr.errors import UserError
from memotr.vocabulary import Precision


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Return the precision that is used on a device: "auto" is "tf32" on CUDA devices that have it, else "32".

    Raises:
        UserError: the precision is unknown, or the device does not have it.
    """
    if precision not in get_args(Precision):
        raise UserError(f"there is no precision {precision!r}: take {', '.join(get_args(Precision))}")
    if precision == "auto":
        return "tf32" if _has_tf32(device) else "32"
    if precision == "tf32" and not _has_tf32(device):
        raise UserError(f"precision tf32 needs an NVIDIA GPU of 2020 or later, this is {device}: take 32")
    if precision == "bf16" and device.type == "cpu" and not _cpu_has_bf16():
        _warn_of_slow_bf16()
    return precision


def autocast_dtype(precision: Precision) -> torch.dtype | None:
    """Return the dtype of heavy operations at a resolved precision; None for float32."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def _has_tf32(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return bool(torch.cuda.is_tf32_supported())


def _cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bf16, or this is unknown."""
    names = ["_is_avx512_bf16_supported", "_is_amx_tile_supported"]  # private, so they may be missing
    known = [getattr(torch.cpu, name) for name in names if hasattr(torch.cpu, name)]
    return platform.machine().lower() not in {"x86_64", "amd64"} or not known or any(ask() for ask in known)


@functools.cache
def _warn_of_slow_bf16() -> None:
    warnings.warn("precision bf16: this processor has no instructions for it; 32 may be faster", stacklevel=4)


class _Tf32Switches:
    """Switches of TF32 in matrix products and convolutions while any thread tracks; the last to leave restores them.

    "32" has precedence over "tf32": an exact tracker stays exact whatever other threads track.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = {False: 0, True: 0}  # rounded → number of threads
        self.before: tuple[str | None, bool | None] = (None, None)

    def enter(self, rounded: bool) -> None:
        with self.lock:
            if not any(self.users.values()):
                self.before = _read()
            self.users[rounded] += 1
            self._apply()

    def leave(self, rounded: bool) -> None:
        with self.lock:
            self.users[rounded] -= 1
            if any(self.users.values()):
                self._apply()
            else:
                _write(*self.before)

    def _apply(self) -> None:
        products, convolutions = self.before
        rounded = not self.users[False]
        _write(
            None if products is None else "high" if rounded else "highest", None if convolutions is None else rounded
        )


def _read() -> tuple[str | None, bool | None]:
    """Return the settings of products and of convolutions.

    They are None, and stay as they are, where somebody set backends or operations separately by PyTorch's newer names.
    """
    products = convolutions = None
    with suppress(RuntimeError):
        products = torch.get_float32_matmul_precision()
    with suppress(RuntimeError):
        convolutions = torch.backends.cudnn.allow_tf32
    return products, convolutions


def _write(products: str | None, convolutions: bool | None) -> None:
    if products is not None:
        torch.set_float32_matmul_precision(products)
    if convolutions is not None:
        torch.backends.cudnn.allow_tf32 = convolutions


_switches = _Tf32Switches()


@contextmanager
def tf32_switched(precision: Precision) -> Iterator[None]:
    """Switch TF32 on for "tf32" and off for "32"; other precisions keep PyTorch's settings.

    By default cuDNN rounds the float32 inputs of convolutions to TF32 (three digits), and cuBLAS does not.
    """
    if autocast_dtype(precision) is not None:
        yield
        return
    rounded = precision == "tf32"
    _switches.enter(rounded)
    try:
        yield
    finally:
        _switches.leave(rounded)
