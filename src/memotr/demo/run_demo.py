"""Demo of the tracker on a generated clip."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memotr.consoles import console
from memotr.data.contact_sheet import write_png
from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.sequences import Sequence
from memotr.data.synth.settings import SynthSettings
from memotr.data.synth.writer import generate
from memotr.io.frames import Frame
from memotr.io.outputs import open_outputs
from memotr.io.progress import TrackingBars
from memotr.io.sources import open_source
from memotr.terminal import note, say
from memotr.tracking.pipeline import track_source
from memotr.tracking.tracker import Tracker
from memotr.tracks import Tracks
from memotr.vocabulary import DeviceKind
from memotr.weights.model_files import open_model

PRESET, SPLIT = "synthdance", "demo"
EASY: dict[str, Any] = {"figures": (2, 4), "difficulty": "easy"}
"""Settings of clips that can be learned in about ten minutes."""
COMPARISON_PACKAGES = ("scipy", "trackers")
"""Packages that only the comparison needs."""
NOTICE = (
    "A single clip is no benchmark: docs/synthdance.md has the scores of 20 clips, and how the tracker was trained.",
    "To track your own video with the authors' weights: memotr track VIDEO --checkpoint dancetrack",
)


def run_demo(
    output: Path,
    checkpoint: str = PRESET,
    num_frames: int = 100,
    *,
    easy: bool = False,
    device: DeviceKind = "auto",
    settings: Many[str] = (),
) -> None:
    """Generate a clip, track it, and compare the result with the ground truth and a motion-only tracker.

    If packages for the comparison are missing, it is skipped with a message.

    Args:
        output: folder for the clip (with its ground truth), annotated video, MOT text, JSON lines and a picture.
        checkpoint: preset or weights file.
        num_frames: number of frames of the clip.
        easy: generate a clip like those that ``memotr demo --train`` trains on.
        device: kind of device to compute on.
        settings: settings of the tracker to override as ``key=value``.

    Raises:
        UserError: the folder cannot be written or contains a clip with other settings, or the checkpoint cannot be
            loaded.
    """
    clip = make_clip(output / "clip", num_frames, easy=easy)
    tracker = Tracker(open_model(checkpoint, settings=settings, device=device))
    missing = [package for package in COMPARISON_PACKAGES if find_spec(package) is None]
    if missing:
        track_clip(tracker, clip, output / "tracked")
        say(f"To score and compare the result, install {' and '.join(missing)}: pip install 'memotr[demo]'")
    else:
        compare_on_clip(tracker, clip, output)
    say(*NOTICE)


def make_clip(folder: Path, num_frames: int, *, easy: bool) -> Sequence:
    """Generate a clip that is in no split, with four to six dancers or an easy one. An existing clip is kept."""
    kind = EASY if easy else {"figures": (4, 6)}
    settings = SynthSettings(splits={SPLIT: 1}, frames=num_frames, **kind)
    generate(folder, settings, workers=1, progress=console(stderr=True))
    return load_split(DatasetSpec(folder, SPLIT))[0]


def track_clip(
    tracker: Tracker, clip: Sequence, folder: Path, also: Callable[[Frame, Tracks], None] | None = None
) -> None:
    """Track a clip and write its results to a folder; call ``also`` after each frame."""
    with open_source(str(clip.frames[0].parents[1])) as frames, TrackingBars() as bars:
        sinks = open_outputs(frames, folder)
        progress = bars.add(frames)

        def on_frame(frame: Frame, tracks: Tracks) -> None:
            progress(frame, tracks)
            if also is not None:
                also(frame, tracks)

        track_source(tracker, frames, sinks, on_frame)
        say(*progress.summary(sinks))
        if not progress.ids:
            note(tracker.explain_no_tracks())


def compare_on_clip(tracker: Tracker, clip: Sequence, output: Path) -> None:
    """Track a clip, link the same boxes with ByteTrack, and show pictures and scores of both."""
    from memotr.demo.comparison import BYTETRACK, OURS, Comparison

    folders = {OURS: output / "tracked", BYTETRACK: output / "bytetrack"}
    picture = output / "side_by_side.png"
    with Comparison(clip, folders[BYTETRACK] / f"{clip.name}.txt") as comparison:
        track_clip(tracker, clip, folders[OURS], comparison)
    write_png(comparison.picture(), picture)
    say(f"wrote {picture}: ground truth, {OURS} and {BYTETRACK}; boxes on a wrong person are crossed out")
    console().print(comparison.table(output / "clip", folders))
