"""Arguments of public functions that are of a wrong kind: one short line names what was expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import memotr
from memotr.weights.model_files import save_model
from tests.builders import tiny_model
from tests.io.results import make_tracks

VIDEO = np.zeros((2, 48, 64, 3), np.uint8)
PAIR = make_tracks([[0, 0, 10, 10], [5, 5, 20, 20]], ids=[3, 5])
FLOATS = np.zeros(1, np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: memotr.Tracker(memotr.load_config("tiny")), TypeError, "expected weights as a file, a name or hf://"),
        (lambda: memotr.Tracker(tiny_model().state_dict()), TypeError, "hf://OWNER/NAME, got OrderedDict"),
        (lambda: memotr.Tracker(tiny_model(), graph="on"), memotr.UserError, "no graph mode 'on': take auto, off"),
        (lambda: memotr.load_model(VIDEO), TypeError, "hf://OWNER/NAME, got ndarray"),
        (lambda: memotr.load_model("synthdance", settings="a.b=1"), TypeError, "settings as a list of texts"),
        (lambda: memotr.load_config({}), TypeError, "expected a preset or a YAML file, got dict"),
        (lambda: memotr.build_model("tiny"), TypeError, "which memotr.load_config reads, got str"),
        (lambda: memotr.open_source(VIDEO), TypeError, r"takes frames, too\), got ndarray"),
        (lambda: memotr.track(VIDEO, "synthdance"), TypeError, r"takes frames, too\), got ndarray"),
        (lambda: memotr.track([], "synthdance"), memotr.UserError, "no source to track: pass at least one"),
        (lambda: memotr.track("a.mp4", tiny_model()), TypeError, "a path or a text for checkpoint, got MeMOTR"),
        (lambda: memotr.train(tiny_model()), TypeError, "a path or a text for config, got MeMOTR"),
        (lambda: memotr.train("tiny", settings="training.epochs=1"), TypeError, "settings as a list of texts"),
        (lambda: memotr.evaluate(tiny_model(), "data"), TypeError, "a path or a text for checkpoint, got MeMOTR"),
        (
            lambda: memotr.evaluate("a", "b", format="mot18"),
            memotr.UserError,
            "no rules 'mot18': take auto, mot, mot15",
        ),
        (lambda: memotr.push_to_hub("synthdance", "me/mine"), TypeError, "which memotr.load_model returns, got str"),
        (lambda: save_model(memotr.Tracker(tiny_model()), "a.safetensors"), TypeError, "returns, got Tracker"),
        (lambda: memotr.Annotator().annotate(VIDEO[0, ..., 0], PAIR), ValueError, r"got uint8 \(48, 64\); make a grey"),
        (lambda: memotr.Annotator().annotate(VIDEO[0] / 255, PAIR), ValueError, "got float64 "),
        (lambda: memotr.Annotator().annotate(PAIR, VIDEO[0]), ValueError, "got Tracks"),
        (lambda: memotr.Annotator().annotate(VIDEO[0], None), TypeError, "expected Tracks, got NoneType"),
        (lambda: memotr.Annotator(trail_length=-1), ValueError, "trail_length is -1; 0 draws no trails"),
        (lambda: memotr.VideoSink("a.mp4", fps=0), memotr.UserError, "fps is 0; expected a number"),
        (lambda: memotr.MotSink("a.txt").write(VIDEO[0], PAIR), TypeError, r"add\(\) takes .* got ndarray"),
        (lambda: memotr.MotSink("a.txt").add(VIDEO[0]), TypeError, "expected Tracks, got ndarray"),
        (lambda: memotr.MotSink("a.txt").add(PAIR), ValueError, "these tracks have no image: Tracker.track gives one"),
        (lambda: PAIR[2], IndexError, "index 2 is out of bounds .* size 2"),
        (lambda: PAIR[[9]], IndexError, "index 9 is out of bounds .* size 2"),
        (lambda: PAIR[True], IndexError, "a mask .* got True"),
        (lambda: PAIR[None], IndexError, "a mask .* got None"),
        (lambda: PAIR[np.array([True])], IndexError, "size of axis is 2 .* boolean axis is 1"),
        (lambda: PAIR[PAIR.scores], IndexError, "must be of integer"),
        (lambda: memotr.Tracks([1], [[0, 0, 1, 1]], [1], [0], 0, ()), TypeError, r"array for Tracks\.ids, got list"),
        (lambda: memotr.Tracks(np.int64(1), VIDEO, FLOATS, FLOATS, 0, ()), TypeError, "Tracks.ids, got int64"),
        (
            lambda: memotr.Tracks(np.array([1]), np.zeros(4, np.float32), FLOATS, np.array([0]), 0, ("a",)),
            ValueError,
            r"Tracks\.boxes has shape \(4,\), expected \(1, 4\)",
        ),
        (
            lambda: memotr.Tracks(np.array([1]), np.zeros((1, 4), np.float32), FLOATS, np.array([2]), 0, ("a", "b")),
            ValueError,
            r"Tracks\.labels has 2, but class_names has 2 names",
        ),
        (lambda: memotr.nothing, AttributeError, "module 'memotr' has no attribute 'nothing'"),
    ],
)
def test_wrong_arguments(
    call: Callable[[], Any],
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as raised:
        call()
    assert len(str(raised.value)) < 200


def test_tracks_are_chosen_by_position_and_by_mask() -> None:
    assert (len(PAIR), [track["id"] for track in PAIR]) == (2, [3, 5])
    one = PAIR[0]
    assert (len(one), one.ids.tolist(), one.boxes.shape, one.frame) == (1, [3], (1, 4), 0)
    for index in (-1, np.int64(1), np.array(1), slice(1, None), [1], np.array([False, True]), PAIR.ids == 5):
        assert PAIR[index].ids.tolist() == [5], index
    assert [t.ids.tolist() for t in (PAIR[[]], PAIR[:0], PAIR[::-1], PAIR[[1, 1]])] == [[], [], [5, 3], [5, 5]]


def test_sinks_take_tracks_with_an_image(tmp_path: Path) -> None:
    """They write what a frame with its tracks would."""
    tracker = memotr.Tracker(tiny_model(), min_area=0)
    (tmp_path / "frames").mkdir()
    for k in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{k}.png"), VIDEO[0] + 40 * k)
    with memotr.open_source(tmp_path / "frames") as source:
        images = list(source)
    with memotr.JsonLinesSink(tmp_path / "a.jsonl") as one, memotr.JsonLinesSink(tmp_path / "b.jsonl") as other:
        for frame, tracks in zip(images, tracker.track(tmp_path / "frames"), strict=True):
            one.add(tracks)
            other.write(frame, tracks)
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()
    assert '"time": 0.08, "file": "2.png"' in (tmp_path / "a.jsonl").read_text()
