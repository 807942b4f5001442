"""All ways to run the frame step against tables that were kept before they shared one: births, deaths, growth, motion.

Make the tables again (only when a change of results is meant): ``python -m tests.tracking.test_runners``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memotr.export.exported_tracker import ExportedTracker
from memotr.tracking import slots as slot_module
from memotr.tracking.batch import batched
from memotr.tracking.compiled import CompiledTracker
from memotr.tracking.tracker import Tracker
from memotr.tracking.video_tracker import VideoTracker
from memotr.tracks import Tracks
from tests.export.builders import EagerEngine
from tests.tracking.tape import TapeCapture
from tests.tracking.test_compiled import small_model, video

GOLDEN = Path(__file__).parent / "golden" / "runners.json"
FRAMES = 6
SETTINGS: dict[str, dict[str, Any]] = {
    "births and deaths": {"det_thresh": 0.6, "track_thresh": 0.5, "miss_tolerance": 2, "min_area": 0},
    "all tracks end at once": {"det_thresh": 0.6, "track_thresh": 1.0, "miss_tolerance": 1, "min_area": 0},
    "no tracks": {"det_thresh": 1.0},
}
VARIANTS = ("dab", "deformable-detr")


def make_model(variant: str, *, motion: bool = False, max_tracks: int = 1000):
    model = small_model(variant=variant)
    tracking = model.config.tracking
    moving = tracking.motion.model_copy(update={"enabled": motion})
    tracking = tracking.model_copy(update={"motion": moving, "max_tracks": max_tracks})
    model.config = model.config.model_copy(update={"tracking": tracking})
    return model


def cases() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the name of a case, how its model is made, and the settings of its tracker."""
    for variant in VARIANTS:
        for name, settings in SETTINGS.items():
            yield f"{variant}, {name}", {"variant": variant}, settings
    lively = SETTINGS["births and deaths"]
    yield "dab, motion", {"variant": "dab", "motion": True}, lively
    yield "dab, more births than tracks allowed", {"variant": "dab", "max_tracks": 5}, lively


def eager(model, settings: dict[str, Any]) -> list[Tracks]:
    return follow(Tracker(model, **settings))


def slots(model, settings: dict[str, Any]) -> list[Tracks]:
    """Run the step of fixed shapes, from two slots on, without compiling it."""
    kept, slot_module.SLOTS = slot_module.SLOTS, 2
    try:
        return follow(CompiledTracker(model, **settings, compile=lambda step: step))
    finally:
        slot_module.SLOTS = kept


def graph(model, settings: dict[str, Any]) -> list[Tracks]:
    """Replay the step as a graph would, from two slots on."""
    with pytest.MonkeyPatch.context() as patch:
        capture = TapeCapture()
        patch.setattr(slot_module, "SLOTS", 2)
        patch.setattr("memotr.tracking.tracker.capture_on", lambda device: capture)
        tracks = follow(Tracker(model, **settings))
    assert capture.replays
    return tracks


def in_a_batch(model, settings: dict[str, Any]) -> list[Tracks]:
    """Run two videos of the same frames through the network together; both have to give the same."""
    batch, trackers = batched(Tracker(model, **settings), 2)

    def work(tracker: Tracker) -> list[Tracks]:
        with batch.taking_part():
            return follow(tracker)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(work, trackers)
    assert table(one) == pytest.approx(table(other), abs=1e-3)
    return one


def exported(model, settings: dict[str, Any]) -> list[Tracks]:
    return follow(ExportedTracker(EagerEngine(model.set_kernel("reference")), **settings))


RUNNERS = {"eager": eager, "slots": slots, "graph": graph, "batch": in_a_batch, "export": exported}


def follow(tracker: VideoTracker) -> list[Tracks]:
    tracker.reset()
    return [tracker.update(frame) for frame in video(FRAMES)]


def table(frames: list[Tracks]) -> list[float]:
    """Return frame, id, label, score and box of every track, one after the other."""
    rows = [
        [tracks.frame, int(i), int(label), float(score), *map(float, box)]
        for tracks in frames
        for i, label, score, box in zip(tracks.ids, tracks.labels, tracks.scores, tracks.boxes, strict=True)
    ]
    return [value for row in rows for value in row]


@pytest.mark.filterwarnings("ignore:frame .* tracks, the limit set by")
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(("name", "built", "settings"), list(cases()), ids=[name for name, _, _ in cases()])
def test_as_before(runner: str, name: str, built: dict[str, Any], settings: dict[str, Any]) -> None:
    if runner == "export" and ("motion" in built or "max_tracks" in built):
        pytest.skip("exports know neither the motion model nor a limit of tracks")
    wanted = np.array(json.loads(GOLDEN.read_text())[name]).reshape(-1, 8)
    found = np.array(table(RUNNERS[runner](make_model(**built), settings))).reshape(-1, 8)
    assert found[:, :3].tolist() == wanted[:, :3].tolist()  # frames, ids, labels
    np.testing.assert_allclose(found[:, 3], wanted[:, 3], atol=1e-4)
    np.testing.assert_allclose(found[:, 4:], wanted[:, 4:], atol=2e-2)  # pixels
    assert len(wanted) or name.endswith("no tracks")


def test_an_exports_inputs_and_outputs_keep_their_names() -> None:
    """They are a documented file format."""
    from memotr.export.frame_step import INPUTS, OUTPUTS, STATE

    state = ("ids", "labels", "ref_pts", "query_embed", "last_output", "long_memory", "disappear_time")
    assert state == STATE
    assert (*("pixels", "mask"), *state, "next_id", "det_thresh", "track_thresh", "miss_tolerance") == INPUTS
    assert (*(f"new_{name}" for name in state), "new_next_id", "boxes", "scores") == OUTPUTS


if __name__ == "__main__":
    found = {name: table(eager(make_model(**built), settings)) for name, built, settings in cases()}
    text = io.StringIO()
    json.dump({name: [round(value, 5) for value in values] for name, values in found.items()}, text)
    GOLDEN.write_text(text.getvalue() + "\n")
