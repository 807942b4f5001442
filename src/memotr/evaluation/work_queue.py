"""Work queue shared by several ranks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

from lightning_fabric import Fabric
from torch.distributed import HashStore, Store, TCPStore  # type: ignore[attr-defined]  # public, but not exported

PATIENCE = timedelta(minutes=5)
"""Time for which a rank waits for the first one to open its store."""


class WorkQueue:
    """Queue of the numbers 0 … ``size`` − 1, each given to one rank, with counters shared by all ranks.

    Iterate on every rank; a free rank gets the next number. Sort work by length, the longest first, to keep all ranks
    busy until the end. The first rank holds the store, so it must outlive the others.
    """

    def __init__(self, store: Store, size: int) -> None:
        self.size = size
        self._store = store

    @classmethod
    def over(cls, fabric: Fabric, size: int) -> WorkQueue:
        """Return a queue shared by all ranks of a launched ``fabric``. Call it on every rank."""
        if fabric.world_size == 1:
            return cls(HashStore(), size)
        host, port = os.environ.get("MASTER_ADDR", "localhost"), 0
        store = None
        if fabric.is_global_zero:
            store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
            port = store.port
        port = fabric.broadcast(port)
        return cls(store or TCPStore(host, port, is_master=False, timeout=PATIENCE), size)

    def __iter__(self) -> Iterator[int]:
        while (number := self._store.add("given", 1) - 1) < self.size:
            yield number

    def count(self, what: str, amount: int = 1) -> int:
        """Add to a counter shared by all ranks, and return its value; an amount of 0 reads it."""
        return self._store.add(f"count {what}", amount)

    def fail(self, message: str) -> None:
        """Record an error unless there is one, and end the queue on all ranks."""
        self._store.compare_set("failure", "", message)  # "": only if there is none
        self._store.add("given", self.size)

    def stop(self) -> None:
        """Ask all ranks to stop at once."""
        self._store.add("stop", 1)
        self._store.add("given", self.size)

    def stopped(self) -> bool:
        """Return whether a rank has asked all to stop."""
        return self._store.add("stop", 0) > 0

    def failure(self) -> str | None:
        """Return the first error of any rank, or None."""
        return self._store.get("failure").decode() if self._store.check(["failure"]) else None
