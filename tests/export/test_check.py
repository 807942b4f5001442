import pytest
import torch

from memotr.errors import UserError
from memotr.export import check as checking
from memotr.export.check import check
from memotr.export.frame_step import OUTPUTS, ExportedStep
from tests.builders import tiny_model
from tests.export.builders import EagerEngine


class Recorder(EagerEngine):
    """Counts, and changes one output of one frame."""

    def __init__(self, model, output=None, change=None, at=3):
        super().__init__(model)
        self.output, self.change, self.at, self.calls = output, change, at, []

    def run(self, inputs):
        outputs = super().run(inputs)
        self.calls.append((inputs["ids"].tolist(), outputs["new_ids"].tolist()))
        if len(self.calls) == self.at and self.output:
            outputs[self.output] = self.change(outputs[self.output])
        return outputs


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
@pytest.mark.parametrize("classes", [1, 3])
def test_the_video_has_births_and_deaths_and_frames_without_tracks(variant, classes):
    model = tiny_model(variant, classes)
    engine = Recorder(model)
    assert check(ExportedStep(model), engine) == 0
    before, after = zip(*engine.calls, strict=True)
    assert before[0] == before[checking.EMPTY_AFTER + 1] == after[checking.EMPTY_AFTER] == []
    others = [t for t in range(1, len(before)) if t not in (checking.EMPTY_AFTER, checking.EMPTY_AFTER + 1)]
    assert all(set(after[t]) - set(before[t]) for t in others), "somebody is born"
    assert all(set(before[t]) - set(after[t]) for t in others), "somebody leaves"
    assert all(set(before[t]) & set(after[t]) for t in others), "somebody stays"


@pytest.mark.parametrize("output", OUTPUTS)
def test_any_difference_is_found(output):
    model = tiny_model()
    changes = {True: lambda x: x + 0.01, False: lambda x: x + 1}
    is_float = output in ("new_ref_pts", "new_query_embed", "new_last_output", "new_long_memory", "boxes", "scores")
    with pytest.raises(UserError, match=f"{output} of the exported step differs from PyTorch.s by .* in frame 2"):
        check(ExportedStep(model), Recorder(model, output, changes[is_float]))


@pytest.mark.parametrize("change", [lambda x: x[:-1], lambda x: x.double()])
def test_another_shape_or_type_is_found(change):
    model = tiny_model()
    with pytest.raises(UserError, match="the exported step returns boxes as"):
        check(ExportedStep(model), Recorder(model, "boxes", change))


def test_nan_is_a_difference():
    model = tiny_model()
    with pytest.raises(UserError, match="scores of the exported step differs"):
        check(ExportedStep(model), Recorder(model, "scores", lambda x: torch.full_like(x, torch.nan)))
