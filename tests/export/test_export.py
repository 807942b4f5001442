"""Exports from tracing to the tracks of a video. Tracing takes most of a minute, whatever the network's size."""

import json
from pathlib import Path

import numpy as np
import pytest

from memotr.config import BackboneConfig
from memotr.errors import UserError
from memotr.export.engines import open_engine
from memotr.export.export_model import export_model
from memotr.export.exported_tracker import ExportedTracker
from memotr.export.frame_step import INPUTS, OUTPUTS
from memotr.tracking.tracker import Tracker
from tests.builders import tiny_model
from tests.export.builders import EagerEngine, smallest_model

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def video(height, width, n=8):
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return [np.roll(scene, 5 * t, axis=1) for t in range(n)]


@pytest.fixture(scope="module", params=[("dab", 1), ("deformable-detr", 3)], ids=["dab", "deformable-detr"])
def exported(request, tmp_path_factory):
    """A model and the folder of its exports, with what was said while they were made."""
    model, folder, said = smallest_model(*request.param), tmp_path_factory.mktemp("export"), []
    files = [folder / "tracker.onnx"] + ([folder / "tracker.pt2"] if request.param[0] == "dab" else [])
    export_model(model, files, said.append)
    return model, folder, said


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_a_video_gets_the_same_tracks(exported, ending):
    """Sizes of any aspect, fewer and more tracks, thresholds other than the file's."""
    model, folder, _ = exported
    if not (folder / f"tracker.{ending}").exists():
        pytest.skip("one variant is enough: both files are of the same graph")
    limits = {"det_thresh": 0.6, "track_thresh": 0.55, "miss_tolerance": 2, "result_thresh": 0.1, "min_area": 4}
    ours, plain = Tracker(model, **limits), ExportedTracker(EagerEngine(model), **limits)
    engine = open_engine(folder / f"tracker.{ending}")
    theirs, step = ExportedTracker(engine, **limits), ExportedTracker(engine, **limits)
    for size in [(60, 80), (90, 50), (64, 64)]:
        for tracker in (ours, plain, theirs):
            tracker.reset()
        seen: list[int] = []
        for frame in video(*size):
            step.state = plain.state  # one step from the same state: rounding does not grow from frame to frame
            a, b, _, _ = ours.update(frame), theirs.update(frame), plain.update(frame), step.update(frame)
            assert (a.ids.tolist(), a.labels.tolist()) == (b.ids.tolist(), b.labels.tolist())
            np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-2, err_msg="in pixels")
            state, expected = ({**t.state, "ref_pts": t.state["ref_pts"].sigmoid()} for t in (step, plain))
            for name, tensor in state.items():
                np.testing.assert_allclose(tensor, expected[name], atol=1e-4, err_msg=name)
            seen.append(len(a))
        assert ours.next_id > max(seen), "births and deaths"


@pytest.mark.slow
def test_the_file_describes_its_inputs_and_outputs(exported):
    import onnxruntime

    model, folder, said = exported
    session = onnxruntime.InferenceSession(folder / "tracker.onnx")
    texts = session.get_modelmeta().custom_metadata_map
    assert json.loads(texts["classes"]) == list(model.config.classes)
    inputs = {i.name: i for i in session.get_inputs()}
    assert tuple(inputs) == INPUTS
    assert tuple(o.name for o in session.get_outputs()) == OUTPUTS
    assert set(json.loads(texts["thresholds"])) == {
        "det_thresh",
        "track_thresh",
        "miss_tolerance",
        "result_thresh",
        "min_area",
    }
    for name, value in json.loads(texts["state"]).items():
        shape = inputs[name].shape
        assert shape == (["num_tracks", *value["shape"][1:]] if value["shape"] else [])
        assert inputs[name].type == {"int64": "tensor(int64)", "float32": "tensor(float)"}[value["dtype"]]
    written = sorted(line.split(":")[0] for line in said if line.startswith("wrote "))
    assert written == [f"wrote {path}" for path in sorted(folder.iterdir())], "and nothing is left beside them"


@pytest.mark.slow
def test_the_example_of_the_docs_runs(exported, monkeypatch):
    """With ONNX Runtime, OpenCV and NumPy alone it gives the tracks that ours gives."""
    page = Path(__file__).parents[2] / "docs" / "export.md"
    code = next(block for block in page.read_text(encoding="utf-8").split("```python\n") if block.startswith("import"))
    code = code.partition("```")[0]
    assert "torch" not in code
    model, folder, _ = exported
    monkeypatch.chdir(folder)
    example = {}
    exec(code.replace("memotr.onnx", "tracker.onnx"), example)
    tracker, state = ExportedTracker(EagerEngine(model)), example["state"]
    for frame in video(90, 50, n=3):
        output, state = example["step"](frame, state)
        tracker.update(frame)
        assert output["new_ids"].tolist() == tracker.state["ids"].tolist()
        assert np.allclose(output["new_long_memory"], tracker.state["long_memory"], atol=1e-4)
    assert len(output["new_ids"]) > 0


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    def differ(step, engine):
        raise UserError("the exported step gives another scores")

    monkeypatch.setattr("memotr.export.export_model.trace", lambda model: (None, None))
    monkeypatch.setattr("memotr.export.export_model.write_onnx", lambda program, path, texts: path.write_bytes(b"onnx"))
    monkeypatch.setattr("memotr.export.export_model.open_engine", lambda path, device: None)
    monkeypatch.setattr("memotr.export.export_model.check", differ)
    with pytest.raises(UserError, match="another scores"):
        export_model(tiny_model(), [tmp_path / "a.onnx"])
    assert not list(tmp_path.iterdir())


def test_unsupported_exports_are_refused_early(tmp_path):
    model = tiny_model()
    with pytest.raises(UserError, match=r"a.pth: expected a file that ends in \.onnx or \.pt2"):
        export_model(model, [tmp_path / "b.onnx", tmp_path / "a.pth"])
    motion = model.config.tracking.motion.model_copy(update={"enabled": True})
    tracking = model.config.tracking.model_copy(update={"motion": motion})
    model.config = model.config.model_copy(update={"tracking": tracking})
    with pytest.raises(UserError, match="the motion model cannot be exported"):
        export_model(model, [tmp_path / "a.onnx"])


def test_a_place_that_cannot_be_written_is_known_before_tracing(tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.setattr("memotr.export.export_model.trace", lambda model: pytest.fail("traced"))
    with pytest.raises(UserError, match=r"cannot write .*a\.onnx"):
        export_model(tiny_model(), [tmp_path / "taken" / "a.onnx"])


@pytest.mark.slow
def test_a_backbone_of_another_library(tmp_path):
    pytest.importorskip("transformers")
    config = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
    backbone = BackboneConfig(name="transformers:convnext", config=config)
    model = smallest_model("dab", 1, backbone=backbone)
    files, said = [tmp_path / "tracker.onnx", tmp_path / "tracker.pt2"], []
    export_model(model, files, said.append)
    assert sum("equal to PyTorch" in line for line in said) == 2
    for file in files:
        assert open_engine(file).config.model.backbone == backbone


def test_a_backbone_that_cannot_be_exported(tmp_path, monkeypatch):
    pytest.importorskip("transformers")

    def fail(_):
        raise ValueError("sizes depend on each other. A long explanation")

    monkeypatch.setattr("memotr.export.export_model.trace", fail)
    model = smallest_model("dab", 1, backbone=BackboneConfig(name="transformers:convnext"))
    with pytest.raises(UserError, match=r"^the backbone transformers:convnext cannot .* any size: sizes .* other$"):
        export_model(model, [tmp_path / "tracker.pt2"])
    with pytest.raises(ValueError, match="sizes depend"):
        export_model(smallest_model("dab", 1), [tmp_path / "tracker.pt2"])
