"""A first look without any download: the tracker that ships, on a clip that no training has seen."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from memotr.data.synth.settings import SynthSettings
from memotr.data.synth.writer import generate, sequence_name
from memotr.io.outputs import open_outputs
from memotr.io.progress import TrackingProgress
from memotr.io.sources import open_source
from memotr.tracking.run import track_source
from memotr.tracking.tracker import Tracker
from memotr.weights.tracker import load_model

PRESET, SPLIT = "synthdance", "demo"
NOTICE = (
    "The tracker is small and early, trained on two CPU cores on dancers made like these: docs/synthdance.md says how "
    "far it gets. With another checkpoint: memotr track VIDEO --checkpoint FILE"
)


def run_demo(output: Path, num_frames: int = 100) -> None:
    """Generate a clip, track it and say what was written.

    Args:
        output: folder for the clip (with its ground truth), the annotated video, the MOT text and the JSON lines.
        num_frames: length of the clip.

    Raises:
        UserError: the folder cannot be written, or holds a clip of other settings.
    """
    settings = SynthSettings(splits={SPLIT: 1}, frames=num_frames, figures=(4, 6))
    clip = output / "clip" / SPLIT / sequence_name(SPLIT, 0)
    print(f"Generating {clip}")
    generate(output / "clip", settings, workers=1, progress=Console(stderr=True))
    tracker = Tracker(load_model(PRESET))
    with open_source(str(clip)) as frames:
        sinks = open_outputs(frames, output / "tracked")
        progress = TrackingProgress(frames)
        with progress:
            track_source(tracker, frames, sinks, progress)
    print(progress.summary(sinks))
    print(NOTICE)
