"""Work for several ranks: whoever is free takes the next piece."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

from lightning_fabric import Fabric
from torch.distributed import HashStore, Store, TCPStore  # type: ignore[attr-defined]  # public, but not exported

PATIENCE = timedelta(minutes=5)
"""How long a rank waits for the first one to open its store."""


class Handout:
    """Numbers 0 … ``size`` − 1, each given to one rank, and what all ranks together have done with them.

    Handed out longest first, pieces of unequal length keep all ranks busy until the end. Iterate on every rank; what is
    counted is kept by the first rank, so that it has to stay until the others have left.
    """

    def __init__(self, store: Store, size: int) -> None:
        self.size = size
        self._store = store

    @classmethod
    def over(cls, fabric: Fabric, size: int) -> Handout:
        """One for all ranks of a launched ``fabric``, called by each of them."""
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
        """Add to a counter of all ranks; returns its value. An amount of 0 only looks."""
        return self._store.add(f"count {what}", amount)

    def fail(self, message: str) -> None:
        """Say what went wrong, unless something did before; nothing is handed out any more."""
        self._store.compare_set("failure", "", message)  # "": only where there is none yet
        self._store.add("given", self.size)

    def stop(self) -> None:
        """Ask all ranks to stop where they are."""
        self._store.add("stop", 1)
        self._store.add("given", self.size)

    def stopped(self) -> bool:
        """Whether one of them was asked to."""
        return self._store.add("stop", 0) > 0

    def failure(self) -> str | None:
        """What went wrong first on one of the ranks."""
        return self._store.get("failure").decode() if self._store.check(["failure"]) else None
