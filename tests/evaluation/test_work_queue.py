"""Communication of ranks through the store of a work queue."""

from __future__ import annotations

from torch.distributed import HashStore

from memotr.evaluation.work_queue import WorkQueue


def test_only_the_first_failure_is_reported() -> None:
    queue = WorkQueue(HashStore(), 5)
    assert queue.failure() is None
    queue.fail("an image is broken")
    queue.fail("so is another one")
    assert queue.failure() == "an image is broken"
    assert list(queue) == []
