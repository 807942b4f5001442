"""A training that makes room while its checkpoints are evaluated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from memotr.evaluation.checkpoints import CheckpointDeletedError, Evaluation
from memotr.evaluation.watch import numbered_checkpoints
from memotr.weights.model_files import save_model
from tests.builders import tiny_model
from tests.data import layouts
from tests.evaluation.test_commands import Command, memotr  # noqa: F401 (a fixture)


def test_a_checkpoint_that_is_deleted_meanwhile_is_passed_over(
    memotr: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pytest.importorskip("tensorboard")
    layouts.write_dancetrack(tmp_path, length=2)
    model = tiny_model()
    model.config = model.config.model_copy(update={"input": model.config.input.model_copy(update={"short_side": 64})})
    run = tmp_path / "run"
    for epoch in (1, 2):
        save_model(model, run / f"epoch_000{epoch}.safetensors")
    load = Evaluation._load

    def make_room(self: Evaluation, checkpoint: Path) -> Any:
        (run / "epoch_0001.safetensors").unlink(missing_ok=True)
        return load(self, checkpoint)

    monkeypatch.setattr(Evaluation, "_load", make_room)
    code, out, errors = memotr(
        "eval", "--watch", run, "--once", "--dataset", tmp_path / "DanceTrack", "--split", "val", "--device", "cpu"
    )
    assert (code, errors) == (0, "")
    gone, scored = out.splitlines()
    assert gone == "epoch_0001.safetensors: was deleted before it was evaluated"
    assert scored.startswith("epoch_0002.safetensors: HOTA ")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("here", [True, False])
def test_a_checkpoint_missing_on_one_rank_is_skipped_on_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: bool, here: bool
) -> None:
    said = []

    def all_reduce(missing: torch.Tensor, reduce_op: str) -> torch.Tensor:
        said.append(missing.item())
        return missing + (1 if here else 0)  # whichever rank has it, the other one has not

    if here:
        monkeypatch.setattr(Evaluation, "_load", lambda *_: "model")
    fabric: Any = SimpleNamespace(is_global_zero=first, all_reduce=all_reduce)
    benchmark: Any = None
    with pytest.raises(CheckpointDeletedError):
        Evaluation(fabric, benchmark, {}).track(tmp_path / "epoch_0001.pt", tmp_path, may_be_deleted=True)
    assert said == [not here]


def test_a_link_that_leads_nowhere_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "epoch_0001.pt").symlink_to(tmp_path / "gone.pt")
    (tmp_path / "epoch_0002.pt").write_bytes(b"")
    assert [found.number for found in numbered_checkpoints(tmp_path)] == [2]
