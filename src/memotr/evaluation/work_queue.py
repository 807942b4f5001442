"""Work queue shared by several ranks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

from lightning_fabric import Fabric
from torch.distributed import HashStore, Store, TCPStore  # type: ignore[attr-defined]  # public, but not exported

STORE_TIMEOUT = timedelta(minutes=5)
"""Time that a rank waits for the store of the first rank."""


class WorkQueue:
    """Queue that distributes the numbers 0 … ``size`` − 1 over ranks, with counters shared by all ranks.

    Iterate over it on every rank; each number goes to the first free rank. Sort work by length, the longest first, to
    keep all ranks busy until the end. The first rank holds the store, so it must end last.
    """

    def __init__(self, store: Store, size: int) -> None:
        self.size = size
        self._store = store

    @classmethod
    def shared_by(cls, fabric: Fabric, size: int) -> WorkQueue:
        """Return a queue shared by all ranks of a launched ``fabric``. Call this method on every rank."""
        if fabric.world_size == 1:
            return cls(HashStore(), size)
        host, port = os.environ.get("MASTER_ADDR", "localhost"), 0
        store = None
        if fabric.is_global_zero:
            store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=STORE_TIMEOUT)
            port = store.port
        port = fabric.broadcast(port)
        return cls(store or TCPStore(host, port, is_master=False, timeout=STORE_TIMEOUT), size)

    def __iter__(self) -> Iterator[int]:
        while (number := self._store.add("given", 1) - 1) < self.size:
            yield number

    def count(self, name: str, amount: int = 1) -> int:
        """Add ``amount`` to a counter shared by all ranks, and return its new value; 0 only reads it."""
        return self._store.add(f"count {name}", amount)

    def fail(self, message: str) -> None:
        """Record an error, unless one is recorded already, and end the queue on all ranks."""
        self._store.compare_set("failure", "", message)  # "": only if there is no value
        self._store.add("given", self.size)

    def stop(self) -> None:
        """Request that all ranks stop, and end the queue."""
        self._store.add("stop", 1)
        self._store.add("given", self.size)

    def stopped(self) -> bool:
        """Return whether a rank has requested a stop."""
        return self._store.add("stop", 0) > 0

    def failure(self) -> str | None:
        """Return the first recorded error of any rank; None if there is none."""
        return self._store.get("failure").decode() if self._store.check(["failure"]) else None
