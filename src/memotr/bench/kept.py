"""Memory that a training step keeps from the forward for the backward pass, by module."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from memotr.bench.measure import Row
from memotr.bench.report import Table

MAX_ROWS = 15
"""Maximum number of modules in the table."""
NOTE = (
    "Tensors that autograd keeps, each storage once and without the weights. Deformable attention on a CPU, and "
    "normalisations on CUDA, compute in float32 and keep their inputs in it."
)


class KeptBytes:
    """Bytes that autograd keeps, by the innermost module that runs; layers of one kind together.

    Args:
        module: module that is run within :meth:`counting`; its parameters and buffers are not counted.
    """

    def __init__(self, module: nn.Module) -> None:
        self.bytes: Counter[str] = Counter()
        self._module = module
        self._running: list[str] = []
        self._counted = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
        self._kept: list[Tensor] = []  # so that no storage takes the address of another one

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count while the context is open."""
        handles = []
        for name, module in self._module.named_modules():
            kind = re.sub(r"\.\d+(?=\.|$)", ".*", name)
            handles.append(module.register_forward_pre_hook(lambda _, __, kind=kind: self._running.append(kind)))
            handles.append(module.register_forward_hook(lambda _, __, ___: self._leave()))
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _leave(self) -> None:
        self._running.pop()

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._counted:
            self._counted.add(storage.data_ptr())
            self._kept.append(tensor)
            self.bytes[self._running[-1] if self._running else ""] += storage.nbytes()
        return tensor


def kept_table(title: str, found: Sequence[tuple[str, Counter[str]]]) -> Table:
    """Return the table of bytes by module and precision, the largest modules of the last precision first."""
    columns = {f"MB, {precision}": by for precision, by in found}
    largest = [name for name, _ in found[-1][1].most_common(MAX_ROWS)]
    rows: list[Row] = [
        {"module": name or "losses", **{column: by[name] / 1e6 for column, by in columns.items()}} for name in largest
    ]
    every = {column: by.total() / 1e6 for column, by in columns.items()}
    rows.append({"module": "others", **{c: every[c] - sum(by[n] for n in largest) / 1e6 for c, by in columns.items()}})
    rows.append({"module": "all", **every})
    return Table(title, rows, NOTE)
