"""In which arithmetic a frame is computed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import get_args

import torch

from memotr.errors import UserError
from memotr.vocabulary import Precision


def autocast_dtype(precision: Precision) -> torch.dtype | None:
    """Of the heavy arithmetic; None for float32. Raises UserError where there is no such precision."""
    if precision not in get_args(Precision):
        raise UserError(f"there is no precision {precision!r}: take {', '.join(get_args(Precision))}")
    return {"32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


class _ExactConvolutions:
    """The setting is the process's, and several threads may track: the last to leave puts it back."""

    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, True

    def enter(self) -> None:
        with self.lock:
            self.users += 1
            # Cannot be read where somebody set operations apart, by PyTorch's newer names: they know what they want.
            with suppress(RuntimeError):
                if self.users == 1:
                    self.before = torch.backends.cudnn.allow_tf32
                    torch.backends.cudnn.allow_tf32 = False

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            with suppress(RuntimeError):
                if self.users == 0 and not torch.backends.cudnn.allow_tf32:
                    torch.backends.cudnn.allow_tf32 = self.before


_exact = _ExactConvolutions()


@contextmanager
def exact_convolutions(wanted: bool) -> Iterator[None]:
    """On NVIDIA GPUs cuDNN rounds float32 to TF32 (three digits) unless told not to, as it is where ``wanted``."""
    if not wanted:
        yield
        return
    _exact.enter()
    try:
        yield
    finally:
        _exact.leave()
