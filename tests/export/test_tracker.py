import numpy as np
import pytest

from memotr.errors import UserError
from memotr.export.engines import choose_engine, open_engine
from memotr.export.exported_tracker import ExportedTracker
from memotr.tracking.tracker import Tracker
from tests.builders import tiny_model
from tests.export.builders import EagerEngine, onnx_bytes
from tests.tracking.test_tracker import frames


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
@pytest.mark.parametrize("classes", [1, 3])
def test_takes_the_steps_of_a_tracker(variant, classes):
    model = tiny_model(variant, classes)
    limits = {"det_thresh": 0.6, "track_thresh": 0.55, "miss_tolerance": 2, "result_thresh": 0.1, "min_area": 4}
    one, two = Tracker(model, **limits), ExportedTracker(EagerEngine(model), **limits)
    for _ in range(2):
        results = [(one.update(f), two.update(f)) for f in frames(6)]
        assert all(a.frame == b.frame and a.ids.tolist() == b.ids.tolist() for a, b in results)
        assert all(a.labels.tolist() == b.labels.tolist() for a, b in results)
        assert all(np.allclose(a.boxes, b.boxes, atol=1e-2) for a, b in results), "in pixels"
        assert len({i for a, _ in results for i in a.ids}) > max(len(a) for a, _ in results), "births and deaths"
        one.reset()
        two.reset()


def test_narrow_frames_are_padded_to_the_minimum_side_of_exports():
    tracker = ExportedTracker(EagerEngine(tiny_model()))
    for size in ((20, 640), (500, 1), (3, 3)):
        prepared = tracker.prepare(np.zeros((*size, 3), np.uint8))
        assert min(prepared.images.pixels.shape[2:]) >= 64
        tracker.step(prepared.images, prepared.height, prepared.width)


def test_a_threshold_out_of_range_is_refused():
    with pytest.raises(UserError, match="det_thresh"):
        ExportedTracker(EagerEngine(tiny_model()), det_thresh=2)


@pytest.mark.parametrize(
    ("checkpoint", "wanted", "found"),
    [
        *(("a.pth", "auto", "torch"), ("dancetrack", "torch", "torch")),
        *(("a.onnx", "auto", "onnx"), ("A.ONNX", "auto", "onnx"), ("a.pt2", "pt2", "pt2")),
    ],
)
def test_the_ending_chooses_the_engine(checkpoint, wanted, found):
    assert choose_engine(checkpoint, wanted) == found


@pytest.mark.parametrize(
    ("checkpoint", "wanted", "remedy"),
    [("a.pth", "onnx", "memotr export a.pth FILE.onnx"), ("a.onnx", "torch", "it needs engine onnx")],
)
def test_an_engine_for_other_files_is_refused(checkpoint, wanted, remedy):
    with pytest.raises(UserError, match=f"engine {wanted} does not run {checkpoint}: {remedy}"):
        choose_engine(checkpoint, wanted)


def test_files_that_are_no_exported_tracker(tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(onnx_bytes({}))
    (tmp_path / "noise.onnx").write_bytes(np.random.default_rng(0).bytes(2000))
    (tmp_path / "noise.pt2").write_bytes(b"noise")
    for name, message in {
        "other.onnx": "other.onnx: was not made by `memotr export`",
        "noise.onnx": "noise.onnx: not readable as ONNX",
        "noise.pt2": "noise.pt2: not readable as an exported program",
        "missing.onnx": "missing.onnx: no such file",
        "weights.pth": "memotr export .*weights.pth FILE.onnx",
    }.items():
        with pytest.raises(UserError, match=message):
            open_engine(tmp_path / name)
    with pytest.raises(UserError, match=r"device cuda:3: a \.pt2 file runs on the CPU"):
        open_engine(tmp_path / "noise.pt2", "cuda:3")
    with pytest.raises(UserError, match="device mps: this ONNX Runtime has cpu"):
        open_engine(other, "mps")


def test_tracks_are_limited_though_the_exported_step_knows_no_limit():
    model = tiny_model()
    tracking = model.config.tracking.model_copy(update={"max_tracks": 25})
    model.config = model.config.model_copy(update={"tracking": tracking})
    tracker = ExportedTracker(EagerEngine(model), det_thresh=0.0, track_thresh=0.0, result_thresh=0.0, min_area=0)
    with pytest.warns(UserWarning, match=r"tracking\.max_tracks") as told:
        results = [tracker.update(frame) for frame in frames(4)]
    assert [len(tracks) for tracks in results][1:] == [25] * 3
    assert set(results[-2].ids) == set(results[-1].ids), "tracks that go on are kept"
    assert len(told) == 1
