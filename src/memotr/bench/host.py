"""Work that the host has with a computation: operators that it dispatches, and waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = ("nonzero", "masked_select", "_local_scalar_dense", "unique_dim", "_unique2", "lift_fresh")
"""Operators after which the host waits for a number of rows or a value, or for a tensor made of a list."""


class HostWork:
    """Operators and waits within :meth:`counting`. They are the same on every device, so a CPU counts for a GPU.

    Attributes:
        operators: number of operators that were dispatched.
        copies: shapes of the tensors that were copied to the host by ``Tensor.cpu``.
        waiting: names of all other operators that wait for the device.
    """

    def __init__(self) -> None:
        self.operators = 0
        self.copies: list[Sequence[int]] = []
        self.waiting: list[str] = []

    @property
    def waits(self) -> int:
        """Number of times that the host waits for the device."""
        return len(self.copies) + len(self.waiting)

    @contextmanager
    def counting(self) -> Iterator[HostWork]:
        """Count while the context is open."""
        with _Copies(self), _Operators(self):
            yield self


class _Copies(TorchFunctionMode):
    """Finds copies to the host, which dispatch nothing where the tensor is on the host already."""

    def __init__(self, work: HostWork) -> None:
        super().__init__()
        self.work = work

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.cpu:
            self.work.copies.append(args[0].shape)
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    """Counts operators, and finds those that wait."""

    def __init__(self, work: HostWork) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = work

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.work.operators += func.namespace != "prim"
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if name in WAITING or by_mask:
            self.work.waiting.append(name)
        return func(*args, **(kwargs or {}))
