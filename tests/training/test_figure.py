"""The figure of a run: what it shows of a clip's frames."""

import numpy as np
from matplotlib.patches import Rectangle

from memotr.tracks import Tracks
from memotr.training import engine
from memotr.training.figure import ShownClip, draw, predict
from tests.builders import tiny_model
from tests.data.layouts import Scene, read_dataset, write_sequence
from tests.training.test_engine import small, train


def clip_of(folder, length=3):
    write_sequence(folder / "a", Scene(length=length))
    (sequence,) = read_dataset(folder)
    return ShownClip.choose(sequence, interval=1)


def test_ground_truth_and_tracks_are_drawn_where_they_are(tmp_path):
    clip = clip_of(tmp_path)
    tracks = [
        Tracks(t.ids, t.boxes, np.ones(len(t), np.float32), t.labels, k, ("person",)) for k, t in enumerate(clip.truths)
    ]
    figure = draw(clip, tracks, "title")
    assert figure.get_supxlabel() == ""
    for axes, truth in zip(figure.axes, clip.truths, strict=True):
        drawn = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axes.patches]
        boxes = [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in truth.boxes.tolist()]
        assert drawn == boxes * 2  # as ground truth, and as tracks
        assert all(isinstance(patch, Rectangle) for patch in axes.patches)
        assert axes.get_title() == f"{len(truth)} objects, {len(truth)} tracks"


def test_a_figure_without_tracks_has_an_explanation(tmp_path):
    clip = clip_of(tmp_path)
    model = tiny_model()
    model.config = model.config.model_copy(update={"tracking": model.config.tracking.override({"det_thresh": 1.0})})
    assert draw(clip, predict(model, clip), "title", "nothing was tracked: 1 $ 2").get_supxlabel() == (
        r"nothing was tracked: 1 \$ 2"
    )


def test_a_figure_with_tracks_in_one_frame_has_no_explanation(tmp_path):
    clip = clip_of(tmp_path)
    truth = clip.truths[0]
    found = Tracks(truth.ids, truth.boxes, np.ones(len(truth), np.float32), truth.labels, 0, ("person",))
    none = [Tracks.empty(frame, ("person",)) for frame in (1, 2)]
    assert draw(clip, [found, *none], "title").get_supxlabel() == ""


def test_the_figure_of_a_run_explains_that_nothing_was_tracked(data, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(engine, "draw", lambda *arguments: drawn.append(draw(*arguments)) or drawn[-1])
    assert train(small(data, "training.epochs=1", "tracking.det_thresh=1.0"), tmp_path / "run") == 0
    assert drawn[0].get_supxlabel().startswith("nothing was tracked: no box above min_area (100) reached")
