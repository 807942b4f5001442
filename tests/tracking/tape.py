"""Stand-in for the capture of CUDA graphs that runs on a CPU.

A tape keeps each operation with its tensors and repeats it on the same memory, without any Python of the function. As
on CUDA, numbers are those of the capture, tensors from outside are read where they were then, and what the graph wrote
is worthless after a turn.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class Tape(TorchDispatchMode):
    """Operations of a function, to be repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, list[Any], Any, list[Tensor]]] = []
        self.made: dict[int, Tensor] = {}
        self.addresses: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        leaves, spec = tree_flatten((args, kwargs or {}))
        given = {leaf.untyped_storage().data_ptr() for leaf in leaves if isinstance(leaf, Tensor)}
        tensors = [leaf for leaf in tree_flatten(results)[0] if isinstance(leaf, Tensor)]
        fresh = [tensor for tensor in tensors if tensor.untyped_storage().data_ptr() not in given]
        kept = [self._from_outside(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        if fresh or func._schema.is_mutable:
            self.operations.append((func, kept, spec, fresh))
        self.made |= {id(tensor): tensor for tensor in tensors}
        return results

    def _from_outside(self, tensor: Tensor) -> Any:
        """Return a tensor, by a weak reference if the function did not make it: a graph does not keep those alive."""
        if id(tensor) in self.made:
            return tensor
        self.addresses[id(tensor)] = tensor.data_ptr()
        return weakref.ref(tensor)

    def replay(self) -> None:
        """Repeat all operations."""
        for func, kept, spec, fresh in self.operations:
            args, kwargs = torch.utils._pytree.tree_unflatten([self._still_there(leaf) for leaf in kept], spec)
            results = [leaf for leaf in tree_flatten(func(*args, **kwargs))[0] if isinstance(leaf, Tensor)]
            for old, new in zip(fresh, results, strict=bool(fresh)):
                old.copy_(new)

    def _still_there(self, leaf: Any) -> Any:
        if not isinstance(leaf, weakref.ref):
            return leaf
        tensor = leaf()
        assert tensor is not None, "a tensor that the graph reads was freed"
        assert tensor.data_ptr() == self.addresses[id(tensor)], "a tensor that the graph reads has moved"
        return tensor

    def poison(self) -> None:
        """Overwrite whatever the operations wrote."""
        for *_, fresh in self.operations:
            for tensor in fresh:
                tensor.fill_(torch.nan if tensor.is_floating_point() else 1)


class TapeCapture:
    """Capture by tapes.

    Attributes:
        captures: number of captures.
        replays: number of replays.
        refuse: error that a capture ends with; None for none.
        tapes: all tapes, as long as their graphs live.
    """

    def __init__(self) -> None:
        self.captures = self.replays = 0
        self.refuse: Exception | None = None
        self.tapes: list[weakref.ref[Tape]] = []
        self._lock, self._taken = threading.Lock(), False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Poison all memory of graphs after the turn."""
        with self._lock:
            self._taken = True
            try:
                yield
            finally:
                for reference in self.tapes:
                    if (tape := reference()) is not None:
                        tape.poison()
                self._taken = False

    def record(self, function: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
        """Keep the operations of a function."""
        assert self._taken
        if self.refuse:
            raise self.refuse
        self.captures += 1
        tape = Tape()
        with tape:
            outputs = function()
        self.tapes.append(weakref.ref(tape))

        def replay() -> None:
            assert self._taken
            self.replays += 1
            tape.replay()

        return replay, outputs
