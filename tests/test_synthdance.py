"""The tracker that ships, held to what it is said to reach on SynthDance (docs/synthdance.md)."""

import pytest

from memotr import Tracker, load_model
from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.formats.mot_text import MOT_RESULTS
from memotr.data.synth.settings import SynthSettings
from memotr.data.synth.writer import generate
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate
from memotr.evaluation.tracking import track_sequences


def hota(folder, splits, frames):
    """In percent, of the shipped weights on newly made sequences."""
    generate(folder / "data", SynthSettings(splits=splits, frames=frames), workers=1)
    (split,) = splits
    sequences = load_split(DatasetSpec(folder / "data", split))
    tracker = Tracker(load_model("synthdance", device="cpu"))
    track_sequences(tracker, sequences, folder / "results", MOT_RESULTS)
    truth = load_ground_truth(folder / "data", split=split)
    return 100 * evaluate(truth, folder / "results", workers=1).combined["HOTA"]


def test_two_short_clips(tmp_path):
    assert hota(tmp_path, {"val": 2}, frames=25) == pytest.approx(91.5, abs=1)


@pytest.mark.slow
def test_a_part_of_the_test_split(tmp_path):
    assert hota(tmp_path, {"test": 4}, frames=100) == pytest.approx(83.4, abs=0.5)
