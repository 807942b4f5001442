"""A split through a tracker and its score, as training asks for it."""

import numpy as np
import pytest

from memotr.config import load_config
from memotr.data.formats.mot_text import MOT_RESULTS
from memotr.errors import UserError
from memotr.evaluation import validation
from memotr.evaluation.tracking import track_sequences
from memotr.tracks import Tracks
from memotr.training.train import train
from tests.builders import tiny_model
from tests.data.layouts import read_dataset, write_coco_video, write_dancetrack
from tests.io.results import read_mot


class Oracle:
    """Reports the ground truth of the frames that it is shown, in order."""

    def __init__(self, sequences, stop_at=None):
        self.videos = iter(sequences)
        self.stop_at = stop_at
        self.updates = 0

    def reset(self):
        self.boxes = iter(next(self.videos).boxes)

    def prepare(self, image):
        return image

    def update(self, image):
        self.updates += 1
        if self.updates == self.stop_at:
            raise KeyboardInterrupt
        truth = next(self.boxes)
        return Tracks(truth.ids, truth.boxes, np.ones(len(truth), np.float32), truth.labels, 0, ("person",))


@pytest.fixture
def data_root(tmp_path):
    write_dancetrack(tmp_path)
    return tmp_path


def test_every_frame_of_every_sequence_is_written(data_root):
    sequences = read_dataset(data_root / "DanceTrack", "val")
    track_sequences(Oracle(sequences), sequences, data_root / "results", MOT_RESULTS)
    for sequence in sequences:
        found = read_mot(data_root / "results" / f"{sequence.name}.txt")
        for number, truth in enumerate(sequence.boxes, start=1):
            if len(truth):
                assert sorted(found[number].ids.tolist()) == sorted(truth.ids.tolist())
    assert len(list((data_root / "results").iterdir())) == len(sequences)


def test_an_interrupted_run_goes_on_where_it_stopped(data_root):
    sequences = read_dataset(data_root / "DanceTrack", "val")
    first, results = len(sequences[0]), data_root / "results"
    with pytest.raises(KeyboardInterrupt):
        track_sequences(Oracle(sequences, stop_at=first + 2), sequences, results, MOT_RESULTS)
    assert [path.name for path in results.glob("*.txt")] == [f"{sequences[0].name}.txt"]
    again = Oracle(sequences[1:])
    track_sequences(again, sequences, results, MOT_RESULTS)
    assert again.updates == len(sequences[1])
    assert len(list(results.glob("*.txt"))) == 2


def test_validation_scores_the_tracks_of_the_tracker(data_root, monkeypatch):
    overrides = [f"data.root={data_root}", "data.val={path: DanceTrack, split: val}"]
    config = load_config("tiny", overrides)
    sequences = read_dataset(data_root / "DanceTrack", "val")
    validate = validation.make_validation(config, data_root / "validation")
    model = tiny_model().train()
    poor = validate(model, 1)
    assert model.training
    assert next(iter(poor)) == "HOTA"
    assert poor["HOTA"] < 0.5
    monkeypatch.setattr(validation, "Tracker", lambda _model: Oracle(sorted(sequences, key=len, reverse=True)))
    for epoch in (2, 1):  # the second time from an earlier checkpoint: what lies there is another model's
        perfect = validate(model, epoch)
        assert perfect == pytest.approx(dict.fromkeys(perfect, 1.0))


def test_validation_explains_that_nothing_was_tracked(data_root, capsys):
    config = load_config("tiny", [f"data.root={data_root}", "data.val={path: DanceTrack, split: val}"])
    model = tiny_model()
    strict = model.config.tracking.model_copy(update={"det_thresh": 1.0})
    model.config = model.config.model_copy(update={"tracking": strict})
    validation.make_validation(config, data_root / "validation")(model, 3)
    assert (
        "validation after epoch 3: nothing was tracked: no box above min_area (100) reached" in capsys.readouterr().err
    )


def test_of_a_divided_data_set_val_is_taken_where_no_split_is_named(data_root):
    config = load_config("tiny", [f"data.root={data_root}", "data.val={path: DanceTrack}"])
    scores = validation.make_validation(config, data_root / "validation")(tiny_model(), 1)
    assert list(scores) == list(validation.SHOWN)
    names = {sequence.name for sequence in read_dataset(data_root / "DanceTrack", "val")}
    assert {path.stem for path in (data_root / "validation" / "epoch_1").glob("*.txt")} == names
    (data_root / "DanceTrack" / "val").rename(data_root / "DanceTrack" / "valid")
    with pytest.raises(UserError, match=r"has the splits .*valid.*; choose one as data\.val\.split"):
        validation.make_validation(config, data_root / "validation")


def test_the_format_that_the_configuration_names_is_read(tmp_path):
    """Not the one that the folder looks like: other trackers leave such JSON beside MOT sequences."""
    write_coco_video(tmp_path / "own", length=3)
    write_dancetrack(tmp_path, length=2)
    (tmp_path / "DanceTrack" / "val").rename(tmp_path / "own" / "val")
    model = tiny_model(classes=2)
    model.config = model.config.model_copy(update={"classes": ("car", "bus")})
    for format, names in (("coco-video", {"clip0001", "clip0002"}), ("mot", {"dancetrack0001", "dancetrack0002"})):
        overrides = [f"data.root={tmp_path}", f"data.val={{path: own, split: val, format: {format}}}"]
        validate = validation.make_validation(load_config("tiny", overrides), tmp_path / format)
        validate(model, 1)
        assert {path.stem for path in (tmp_path / format / "epoch_1").glob("*.txt")} == names


def test_classes_are_checked_before_training(tmp_path):
    """A name that differs was once found after the first epoch."""
    write_coco_video(tmp_path / "own", length=3)
    write_coco_video(tmp_path / "other", length=3, categories={1: "auto", 2: "bus"})
    overrides = [f"data.root={tmp_path}", "data.train=[{path: own, split: train}]", "data.workers=0"]
    for val in ("own", "other"):
        config = load_config("tiny", [*overrides, f"data.val={{path: {val}, split: val}}", "training.epochs=1"])
        validate = validation.make_validation(config, tmp_path / "run" / "validation")
        if val == "own":
            validate.check_classes(("car", "bus"))
            continue
        with pytest.raises(
            UserError, match=r"data\.val: the model's classes car are not in the data, which has auto, bus"
        ):
            train(config, tmp_path / "run", device="cpu", validate=validate)
    assert not (tmp_path / "run").exists()


def test_no_validation_without_a_split(tmp_path):
    assert validation.make_validation(load_config("tiny"), tmp_path) is None
