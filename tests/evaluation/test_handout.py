"""What ranks say to each other through the store of a handout."""

from __future__ import annotations

from torch.distributed import HashStore

from memotr.evaluation.handout import Handout


def test_the_first_failure_is_the_one_that_is_told() -> None:
    handout = Handout(HashStore(), 5)
    assert handout.failure() is None
    handout.fail("an image is broken")
    handout.fail("so is another one")
    assert handout.failure() == "an image is broken"
    assert list(handout) == []
