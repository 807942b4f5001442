import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from memotr.bench.ladder import HoldingTracker, mark_front
from memotr.bench.options import Ladder, Options
from memotr.bench.parts import run_benchmark
from memotr.cli import app
from memotr.config import load_config
from memotr.data.synth.settings import SynthSettings
from memotr.data.synth.writer import generate
from memotr.errors import UserError
from memotr.models.inference import for_inference
from memotr.tracking.tracker import Tracker
from memotr.weights.model_files import save_model
from tests.builders import random_images, random_tracks, tiny_model


def test_the_front_has_what_no_faster_row_equals():
    times = [(3.0, 50.0), (1.0, 40.0), (2.0, 40.0), (3.0, 60.0), (4.0, 55.0)]
    rows = mark_front([{"ms a frame": ms, "HOTA": hota} for ms, hota in times])
    found = [(row["ms a frame"], row["HOTA"], row["front"]) for row in rows]
    assert found == [(1.0, 40.0, "*"), (2.0, 40.0, ""), (3.0, 60.0, "*"), (3.0, 50.0, ""), (4.0, 55.0, "")]


def test_frames_between_have_the_tracks_of_the_last_one():
    tracker = HoldingTracker(Tracker(tiny_model(), det_thresh=0.0, result_thresh=0.0, min_area=0), every=3)
    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 96, 3), dtype=np.uint8)
    for _ in range(2):
        found = [tracker.update(tracker.prepare(frame)) for frame in frames]
        assert [tracks.frame for tracks in found] == [0, 1, 2, 3, 4]
        boxes = [tracks.boxes.tolist() for tracks in found]
        assert boxes[0] == boxes[1] == boxes[2] != boxes[3] == boxes[4]
        tracker.reset()


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_fewer_decoder_layers_give_the_predictions_of_the_last_one_used(variant):
    """Those that training sees as auxiliary outputs of the whole decoder."""
    torch.manual_seed(0)
    model = tiny_model(variant=variant, num_decoder_layers=4)
    layers, merge = len(model.transformer.decoder.layers), model.transformer.decoder.merge_layer
    images, tracks = random_images([(64, 96)]), [random_tracks(3, dim=model.dim, parts=model.queries.parts)]
    with torch.inference_mode():
        whole = model(images, tracks, aux=True)
        for count in range(merge + 1, layers):
            found = for_inference(model, decoder_layers=count)(images, tracks)
            for name in ("logits", "boxes", "output_embed"):
                wanted = getattr(whole.layers, name)[count - 1]
                torch.testing.assert_close(getattr(found, name), wanted, atol=1e-4, rtol=1e-4)
    assert len(model.transformer.decoder.layers) == len(model.class_embed) == layers, "the model keeps all of its own"


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_number_of_layers_that_the_decoder_has_not_is_refused(count):
    model = tiny_model()
    model.transformer.decoder.merge_layer = 1
    with pytest.raises(UserError, match=rf"decoder_layers {count}: this model's decoder runs with 2 to \d layers"):
        Tracker(model, decoder_layers=count)


def test_all_combinations_are_tracked_scored_and_written(tmp_path):
    generate(tmp_path / "data", SynthSettings(splits={"val": 1}, frames=4, size=(64, 96), figures=(2, 2)), workers=1)
    save_model(tiny_model(num_decoder_layers=3), tmp_path / "tiny.safetensors")
    ladder = Ladder(str(tmp_path / "tiny.safetensors"), tmp_path / "data", tmp_path / "out")
    ladder = replace(ladder, short_sides=(32, 64), precisions=("32",), decoder_layers=(2, 3), every=(1, 2))
    options = replace(Options(load_config("tiny")).quick(), ladder=ladder)
    (table,) = run_benchmark(options, ["ladder"], tmp_path / "out", Console(quiet=True)).parts["ladder"]
    names = ("short side", "precision", "decoder layers", "every k-th frame")
    found = {tuple(row[name] for name in names) for row in table.rows}
    assert found == {(side, "32", layers, k) for side in (32, 64) for layers in (2, 3) for k in (1, 2)}
    assert all(0 <= row["HOTA"] <= 100 and row["ms a frame"] > 0 for row in table.rows)
    with (tmp_path / "out" / "ladder.csv").open(newline="") as file:
        assert [float(row["HOTA"]) for row in csv.DictReader(file)] == [row["HOTA"] for row in table.rows]
    assert (tmp_path / "out" / "ladder.png").read_bytes().startswith(b"\x89PNG")


def test_the_ladder_says_what_it_needs(tmp_path):
    for arguments in (["bench", "ladder"], ["bench", "ladder", "--quick"]):
        with pytest.raises(UserError, match="pass --checkpoint and --dataset"):
            CliRunner().invoke(app, [*arguments, "--output", str(tmp_path)], catch_exceptions=False)
