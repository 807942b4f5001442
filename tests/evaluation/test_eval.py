"""``memotr eval`` and ``memotr submit``: from a checkpoint to scores and archives, interrupted and on two processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memotr.data.formats.mot_text import MOT_RESULTS
from memotr.errors import UserError
from memotr.evaluation.benchmark import load_benchmark
from memotr.evaluation.scoring import evaluate
from memotr.evaluation.tracking import track_sequences
from memotr.files import hold_folder
from memotr.published import BDD100K_CLASSES
from memotr.tracking.tracker import Tracker
from memotr.tracks import Tracks
from memotr.weights.model_files import load_model, save_model
from tests.builders import tiny_model
from tests.data import layouts
from tests.evaluation.test_commands import Command, memotr  # noqa: F401 (a fixture)
from tests.full_disk import files_end_at, needs_limits


@pytest.fixture(autouse=True)
def in_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trackers of one, two and eight classes."""
    folder = tmp_path_factory.mktemp("weights")
    for name, classes in {"one": ("person",), "two": ("car", "bus"), "eight": BDD100K_CLASSES}.items():
        model = tiny_model(classes=len(classes))
        small = model.config.input.model_copy(update={"short_side": 64})
        model.config = model.config.model_copy(update={"classes": classes, "input": small})
        save_model(model, folder / f"{name}.safetensors")
    return folder


def results_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "results").iterdir())}


def test_a_split_is_tracked_and_scored(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path)
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    code, out, errors = memotr(*arguments, "--split", "val")
    assert (code, errors) == (0, "")
    assert "combined" in out
    folder = tmp_path / "outputs" / "eval" / "one-DanceTrack-val"
    assert list(results_of(folder)) == ["dancetrack0001.txt", "dancetrack0002.txt"]
    metrics = json.loads((folder / "metrics.json").read_text())
    again = evaluate(load_benchmark(tmp_path / "DanceTrack", split="val").truth, folder / "results")  # type: ignore[arg-type]
    assert metrics["combined"] == again.combined
    assert metrics["source"]["split"] == "val"
    assert metrics["source"]["precision"] == "32", "what auto was"
    assert {"counts.json", "metrics.csv", "thresholds.png"} <= {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("command", ["eval", "submit"])
def test_the_tracker_has_the_given_options(
    memotr: Command,  # noqa: F811
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    layouts.write_dancetrack(tmp_path)
    made = []
    monkeypatch.setattr(
        "memotr.evaluation.checkpoints.Tracker", lambda model, **given: made.append(given) or Tracker(model, **given)
    )
    given = ["--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    kind = ["--split", "val"] if command == "eval" else ["--split", "test", "--partial", "--format", "dancetrack"]
    for options in ([], ["--graph", "off", "--precision", "bf16"]):
        memotr(command, *given, *kind, *options, "--output", tmp_path / str(len(options)))
    assert made == [{"precision": "32", "graph": "auto"}, {"precision": "bf16", "graph": "off"}]


def test_where_nothing_was_tracked_it_is_explained(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    """By ``eval``, also when its results are there already, by ``eval --watch`` and by ``submit``."""
    layouts.write_dancetrack(tmp_path)
    reason = "nothing was tracked: no box above min_area (100) reached det_thresh (1) and exceeded result_thresh (0.5)"
    data = ["--dataset", tmp_path / "DanceTrack", "--set", "tracking.det_thresh=1"]
    given = ["--checkpoint", weights / "one.safetensors", *data]
    for _ in range(2):
        code, _, errors = memotr("eval", *given, "--split", "val", "--output", tmp_path / "out")
        assert (code, f"memotr: note: {reason}" in errors) == (0, True)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["notes"][0].startswith(reason)
    run = tmp_path / "run"
    run.mkdir()
    (run / "epoch_0001.safetensors").symlink_to(weights / "one.safetensors")
    _, out, _ = memotr("eval", "--watch", run, "--once", *data, "--split", "val")
    assert f"epoch_0001.safetensors: {reason}" in out
    code, _, errors = memotr("submit", *given, "--split", "test", "--partial", "--format", "dancetrack")
    assert code == 2
    assert f"no boxes in any of 2 result files: {reason}" in errors


def test_an_interrupted_run_goes_on(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    """A finished sequence is not tracked again, a half-written one is."""
    layouts.write_dancetrack(tmp_path)
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    arguments += ["--split", "val", "--output", tmp_path / "out"]
    assert memotr(*arguments)[0] == 0
    whole = results_of(tmp_path / "out")
    (tmp_path / "out" / "metrics.json").unlink()
    first, second = (tmp_path / "out" / "results" / name for name in whole)
    first.write_text("1,7,1,1,20,20,1,-1,-1,-1\n")  # stays as it is: it counts as finished
    second.rename(second.with_name(f".{second.name}.0123456789abcdef.part"))
    code, _, errors = memotr(*arguments)
    assert (code, errors) == (0, "1 of 2 sequences already have results: continuing with the others\n")
    assert results_of(tmp_path / "out") == {**whole, first.name: b"1,7,1,1,20,20,1,-1,-1,-1\n"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop(
    memotr: Command,  # noqa: F811
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    """Ctrl-C, SIGTERM and SIGHUP end a run with what is finished, and the same command completes it."""
    layouts.write_dancetrack(tmp_path)
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    arguments += ["--split", "val", "--output", tmp_path / "out"]
    update, calls = Tracker.update, iter(range(100))

    def update_until_stopped(self: Tracker, frame: NDArray[np.uint8]) -> Tracks:
        if next(calls) == 12:  # in the second sequence
            signal.raise_signal(number)
        return update(self, frame)

    monkeypatch.setattr(Tracker, "update", update_until_stopped)
    code, out, errors = memotr(*arguments)
    assert (code, out) == (130, "")
    assert errors == "memotr: stopped; repeat the command to continue with the unfinished sequences\n"
    assert [file.name for file in (tmp_path / "out" / "results").iterdir()] == ["dancetrack0002.txt"]
    code, out, _ = memotr(*arguments)
    assert code == 0
    assert list(results_of(tmp_path / "out")) == ["dancetrack0001.txt", "dancetrack0002.txt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["tracking.det_thresh=0.6"], "tracking.det_thresh 0.5 → 0.6"),
        (["--precision", "bf16"], "precision 32 → bf16"),
        (["--split", "train"], "split val → train"),
    ],
)
def test_results_of_different_runs_are_not_mixed(
    memotr: Command,  # noqa: F811
    weights: Path,
    tmp_path: Path,
    change: list[str],
    said: str,
) -> None:
    layouts.write_dancetrack(tmp_path, length=2)
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    arguments += ["--output", tmp_path / "out", "--split", "val"]
    assert memotr(*arguments)[0] == 0
    before = results_of(tmp_path / "out")
    code, _, errors = memotr(*arguments, *change)
    assert (code, errors.count("\n")) == (2, 1)
    assert said in errors
    assert results_of(tmp_path / "out") == before


def test_second_halves(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_mot17(tmp_path)
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "MOT17"]
    for name, options in {"named": ["--split", "val_half"], "asked": ["--split", "train", "--half"]}.items():
        code, out, _ = memotr(*arguments, *options, "--output", tmp_path / name)
        assert code == 0
        assert "MOT17-0002-SDP" in out
    assert results_of(tmp_path / "named") == results_of(tmp_path / "asked")
    last = (tmp_path / "named" / "results" / "MOT17-0002-SDP.txt").read_text().splitlines()[-1]
    assert int(last.split(",")[0]) == 4  # of 9 frames 6 to 9, counted from 1


def test_classes_keep_their_numbers(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_coco_video(tmp_path)
    arguments = ["eval", "--checkpoint", weights / "two.safetensors"]
    code, out, _ = memotr(*arguments, "--dataset", tmp_path / "annotations" / "val.json", "--output", tmp_path / "out")
    assert code == 0
    assert re.search(r"^car .*\nbus ", out, re.MULTILINE)
    rows = (tmp_path / "out" / "results" / "clip0001.txt").read_text().splitlines()
    assert {row.split(",")[7] for row in rows} <= {"1", "2"}


def test_videos_of_coco_with_folders_in_their_names(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_coco_video(tmp_path, length=3)
    file = tmp_path / "annotations" / "val.json"
    file.write_text(file.read_text().replace('"name": "clip0001"', '"name": "val/YFCC100M/v_1"'))
    arguments = ["eval", "--checkpoint", weights / "two.safetensors", "--dataset", tmp_path, "--output", "out"]
    code, _, errors = memotr(*arguments)
    assert (code, errors) == (2, f"memotr: {tmp_path}: has the splits train, val; choose one with --split\n")
    code, _, errors = memotr(*arguments, "--split", "val")
    assert (code, errors) == (0, "")
    assert list(results_of(tmp_path / "out")) == ["clip0002.txt", "val_YFCC100M_v_1.txt"]
    halves = load_benchmark(tmp_path, split="val_half")  # of train
    assert {s.name for s in halves.sequences} == {"clip0001", "clip0002"}


def test_class_numbers_follow_names(tmp_path: Path) -> None:
    scenes = layouts.scenes("video", 2, classes=2)
    for name, scene in scenes.items():
        layouts.write_sequence(tmp_path / "own" / name, scene, with_class=True)
    benchmark = load_benchmark(tmp_path / "own")
    assert benchmark.class_numbers(("class 2", "class 1")) == (2, 1)
    assert benchmark.missing_classes(("class 2", "class 1")) == []
    assert benchmark.missing_classes(("class 2",)) == ["class 1"]
    with pytest.raises(UserError, match=r"classes dog are not in the data, which has class 1, class 2"):
        benchmark.class_numbers(("class 1", "dog"))
    layouts.write_dancetrack(tmp_path)
    assert load_benchmark(tmp_path / "DanceTrack", split="val").class_numbers(("person", "dog")) == (-1, -1)


def test_missing_images_are_reported_before_tracking(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path)
    next((tmp_path / "DanceTrack" / "val" / "dancetrack0001" / "img1").iterdir()).unlink()
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    code, _, errors = memotr(*arguments, "--split", "val")
    assert (code, errors.count("\n")) == (2, 1)
    assert "has 7 images, but 8 frames of dancetrack0001 are scored" in errors
    assert not (tmp_path / "outputs").exists()


def number_images(folder: Path, numbers: list[int]) -> None:
    """New numbers for the images of a sequence, in their order."""
    files = sorted((folder / "img1").iterdir())
    for file in files:
        file.rename(file.with_suffix(".old"))
    for file, number in zip(files, numbers, strict=True):
        file.with_suffix(".old").rename(file.with_stem(f"{number:08d}"))


@pytest.mark.parametrize("split", ["val", "val_half"])
def test_frame_numbers_of_results_match_ground_truth_for_any_first_image(tmp_path: Path, split: str) -> None:
    layouts.write_dancetrack(tmp_path, length=4)
    root = tmp_path / "DanceTrack"
    (root / "train").rename(root / "other")
    (root / "val").rename(root / ("train" if split == "val_half" else "val"))
    (root / "val_seqmap.txt").rename(root / "val.txt")
    folder = root / ("train" if split == "val_half" else "val") / "dancetrack0001"
    expected = load_benchmark(root, split=split)
    number_images(folder, [0, 1, 2, 3])
    with pytest.raises(
        UserError,
        match=r"dancetrack0002/img1: image numbers have gaps or do not begin with the first of the split",
    ):
        load_benchmark(root, split=split)  # one of the split has an image 0, and so has this one to have
    number_images(folder.with_name("dancetrack0002"), [0, 1, 2, 3, 4])
    found = load_benchmark(root, split=split)
    assert [len(s) for s in found.sequences] == [len(s) for s in expected.sequences]
    number_images(folder, [0, 1, 3, 4])
    with pytest.raises(UserError, match=r"dancetrack0001/img1: image numbers have gaps"):
        load_benchmark(root, split=split)
    with pytest.raises(UserError, match=r"dancetrack0001/img1: image numbers have gaps"):
        load_benchmark(root, split=split, scored=False)


def test_any_detectors_copy_may_be_asked_for(tmp_path: Path) -> None:
    layouts.write_mot17(tmp_path, length=3)
    for pattern, detector in (("MOT17-*-FRCNN", "FRCNN"), ("*-[DF]*", "FRCNN"), ("MOT17-*", "SDP")):
        for scored in (True, False):
            found = load_benchmark(tmp_path / "MOT17", split="train", only=[pattern], scored=scored)
            assert {s.name for s in found.sequences} == {f"MOT17-000{k}-{detector}" for k in (1, 2)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "eval needs either --checkpoint FILE or --watch FOLDER"),
        (["--checkpoint", "a.pth", "--watch", "run"], "eval needs either --checkpoint FILE or --watch FOLDER"),
        (["--checkpoint", "{weights}/one.safetensors", "--split", "test"], "test: no ground truth for this split"),
        (["--checkpoint", "{weights}/one.safetensors", "--split", "nothing"], "no split 'nothing'"),
        (["--checkpoint", "{weights}/one.safetensors", "--split", "val", "--sequences", "x*"], "is named x*"),
        (["--checkpoint", "missing.pth", "--split", "val"], "missing.pth"),
        (["--checkpoint", "{weights}", "--split", "val"], "pass the checkpoint file in it (it contains eight.saf"),
        (["--checkpoint", "{weights}/one.safetensors", "--split", "val", "tracking.det=1"], "det_thresh"),
        (["--watch", "nowhere", "--split", "val"], "cannot read nowhere"),
    ],
)
def test_bad_input_is_one_line(
    memotr: Command,  # noqa: F811
    weights: Path,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    layouts.write_dancetrack(tmp_path, length=2)
    arguments = [argument.format(weights=weights) for argument in arguments]
    code, _, errors = memotr("eval", "--dataset", tmp_path / "DanceTrack", *arguments)
    assert (code, errors.count("\n")) == (2, 1)
    assert said in errors


def test_an_unreadable_image_ends_it_with_the_finished_sequences_kept(
    memotr: Command,  # noqa: F811
    weights: Path,
    tmp_path: Path,
) -> None:
    layouts.write_dancetrack(tmp_path)
    broken = sorted((tmp_path / "DanceTrack" / "val" / "dancetrack0001" / "img1").iterdir())[-1]
    broken.write_bytes(b"no image")
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    code, _, errors = memotr(*arguments, "--split", "val", "--output", tmp_path / "out")
    assert (code, errors.count("\n")) == (2, 1)
    assert str(broken) in errors
    assert "--skip-bad" not in errors  # an option of another command
    assert [file.name for file in (tmp_path / "out" / "results").glob("*.txt")] == ["dancetrack0002.txt"]


def command(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "LOCAL_RANK"} | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "memotr", *map(str, arguments)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_several_sequences_at_once(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path, sequences=3, length=4)
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    arguments += ["--split", "val"]
    assert memotr(*arguments, "--output", tmp_path / "one")[0] == 0
    code, _, errors = memotr(*arguments, "--output", tmp_path / "three", "--batch", "3")
    assert (code, errors) == (0, "")
    one, three = (results_of(tmp_path / name) for name in ("one", "three"))
    assert list(one) == list(three)
    for name in one:
        mine, theirs = (np.loadtxt(text.decode().splitlines(), delimiter=",") for text in (three[name], one[name]))
        np.testing.assert_array_equal(mine[:, :2], theirs[:, :2])
        np.testing.assert_allclose(mine[:, 2:6], theirs[:, 2:6], atol=0.05)


def test_an_error_in_one_sequence_of_a_batch_ends_the_run(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path, sequences=3, length=4)
    broken = sorted((tmp_path / "DanceTrack" / "val" / "dancetrack0003" / "img1").iterdir())[1]
    broken.write_bytes(b"no image")
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    code, _, errors = memotr(*arguments, "--split", "val", "--batch", "2")
    assert (code, errors.count("\n")) == (2, 1)
    assert str(broken) in errors


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_folder_that_another_run_uses(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    """Refused with one line; a training that is watched may run on."""
    layouts.write_dancetrack(tmp_path, length=2)
    data = ["--dataset", tmp_path / "DanceTrack", "--split", "val"]
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", *data, "--output", "out"]
    with hold_folder(Path("out")):
        code, _, errors = memotr(*arguments)
        assert (code, errors.count("\n")) == (2, 1)
        assert errors.startswith("memotr: out: another process is using this folder; wait for it to end, or choose")
        assert [file.name for file in Path("out").iterdir()] == [".lock"]
    assert memotr(*arguments)[0] == 0
    with hold_folder(Path("out")):
        code, _, errors = memotr("score", tmp_path / "DanceTrack", "out/results", "--split", "val", "--output", "out")
        assert (code, errors.count("\n")) == (2, 1)
        assert "memotr: out: another process is using this folder" in errors
    assert not list(Path("out").glob(".*"))
    run = Path("run")
    run.mkdir()
    (run / "epoch_0001.safetensors").write_bytes((weights / "one.safetensors").read_bytes())
    with hold_folder(run):
        assert memotr("eval", "--watch", run, "--once", *data)[0] == 0


@needs_limits
def test_a_full_disk(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    """No result counts as finished; scores and archives that are there stay as they are."""
    layouts.write_dancetrack(tmp_path, length=8)
    data = ["--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    evaluate = ["eval", *data, "--split", "val", "--output", "eval"]
    submit = ["submit", *data, "--partial", "--output", "submit"]
    for command in (evaluate, submit):
        with files_end_at(1500):  # run.json has room
            code, _, errors = memotr(*command)
        assert (code, errors.count("\n")) == (2, 1)
        assert "cannot write" in errors
        assert not list(Path(command[-1], "results").iterdir())
        assert memotr(*command)[0] == 0
        whole = {file: file.read_bytes() for file in Path(command[-1]).rglob("*") if file.is_file()}
        with files_end_at(100):
            code, _, errors = memotr(*command)
        assert code == 2
        assert errors.splitlines()[-1].startswith("memotr: cannot write ")
        assert {file: file.read_bytes() for file in Path(command[-1]).rglob("*") if file.is_file()} == whole


@pytest.mark.slow
def test_two_processes_share_the_sequences(weights: Path, tmp_path: Path) -> None:
    layouts.write_dancetrack(tmp_path, sequences=3)
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", "DanceTrack", "--split", "val"]
    arguments += ["--device", "cpu"]
    alone = command(tmp_path, *arguments, "--output", "alone")
    assert alone.returncode == 0, alone.stderr
    both = command(tmp_path, *arguments, "--output", "both", "--devices", "2")
    assert both.returncode == 0, both.stderr
    assert results_of(tmp_path / "both") == results_of(tmp_path / "alone")
    assert both.stdout.splitlines()[:-1] == alone.stdout.splitlines()[:-1]  # all but where it was written


@pytest.mark.slow
def test_a_folder_in_use_ends_both_processes(weights: Path, tmp_path: Path) -> None:
    layouts.write_dancetrack(tmp_path, length=2)
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", "DanceTrack", "--split", "val"]
    with hold_folder(tmp_path / "out"):
        done = command(tmp_path, *arguments, "--device", "cpu", "--devices", "2", "--output", "out")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("memotr: out: another process is using this folder") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_error_in_one_process_ends_both(weights: Path, tmp_path: Path) -> None:
    layouts.write_dancetrack(tmp_path, sequences=3)
    for name in ("dancetrack0001", "dancetrack0002", "dancetrack0003"):  # whoever takes the first one fails
        sorted((tmp_path / "DanceTrack" / "val" / name / "img1").iterdir())[0].write_bytes(b"no image")
    arguments = ["eval", "--checkpoint", weights / "one.safetensors", "--dataset", "DanceTrack", "--split", "val"]
    done = command(tmp_path, *arguments, "--device", "cpu", "--devices", "2")
    told = [line for line in done.stderr.splitlines() if line.startswith("memotr: ")]
    assert done.returncode == 2, done.stderr
    assert len(told) == 1
    assert "cannot be read" in told[0] or "not an image" in told[0] or "image" in told[0]
    assert "Traceback" not in done.stderr


def test_every_checkpoint_of_a_training_is_evaluated(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    layouts.write_dancetrack(tmp_path, length=3)
    run = tmp_path / "run"
    run.mkdir()
    model = load_model(weights / "one.safetensors")
    (run / "config.yaml").write_text(model.config.to_yaml().replace("epochs: 90", "epochs: 3"))
    for epoch in (1, 3):
        save_model(model, run / f"epoch_000{epoch}.safetensors")
    save_model(model, run / "last.safetensors")  # the same as the last one
    arguments = ["eval", "--watch", run, "--dataset", tmp_path / "DanceTrack", "--split", "val"]
    code, out, errors = memotr(*arguments)  # ends by itself: the third epoch was the last
    assert (code, errors) == (0, "")
    assert re.findall(r"^epoch_\d+.safetensors: HOTA ", out, re.MULTILINE) == [
        "epoch_0001.safetensors: HOTA ",
        "epoch_0003.safetensors: HOTA ",
    ]
    folder = run / "eval" / "DanceTrack-val"
    assert sorted(file.name for file in folder.iterdir()) == ["epoch_0001", "epoch_0003", "tensorboard"]
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    wanted = json.loads((folder / "epoch_0003" / "metrics.json").read_text())["combined"]["HOTA"]
    assert [event.step for event in board.Scalars("HOTA")] == [1, 3]
    assert board.Scalars("HOTA")[-1].value == pytest.approx(wanted)
    code, out, _ = memotr(*arguments, "--once")
    assert (code, out) == (0, "")  # all have their scores


def test_an_archive_of_a_test_split(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path)
    arguments = ["submit", "--checkpoint", weights / "one.safetensors", "--dataset", tmp_path / "DanceTrack"]
    code, _, errors = memotr(*arguments)
    assert code == 2
    assert "DanceTrack has 40 (train), 25 (val), 35 (test)" in errors
    assert not (tmp_path / "outputs").exists(), "refused before tracking, which may take hours"
    code, out, errors = memotr(*arguments, "--partial")
    archive = tmp_path / "outputs" / "submit" / "one-DanceTrack-test" / "dancetrack.zip"
    assert code == 0
    assert "wrote outputs/submit/one-DanceTrack-test/dancetrack.zip: 2 files" in out
    assert zipfile.ZipFile(archive).namelist() == ["tracker/dancetrack0001.txt", "tracker/dancetrack0002.txt"]
    again = ["submit", "--results", archive.parent / "results", "--dataset", tmp_path / "DanceTrack", "--partial"]
    assert memotr(*again, "--output", tmp_path / "again")[0] == 0
    assert (tmp_path / "again" / "dancetrack.zip").read_bytes() == archive.read_bytes()


def test_several_classes_are_submitted_as_one(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path)
    arguments = ["submit", "--checkpoint", weights / "two.safetensors", "--dataset", tmp_path / "DanceTrack"]
    code, out, errors = memotr(*arguments, "--partial", "--set", "tracking.det_thresh=0", "--output", tmp_path / "out")
    assert (code, "2 files" in out) == (0, True), errors
    with zipfile.ZipFile(tmp_path / "out" / "dancetrack.zip") as archive:
        rows = [row for name in archive.namelist() for row in archive.read(name).decode().splitlines()]
    assert {row.split(",")[7] for row in rows} == {"-1"}


def test_an_archive_of_bdd100k(memotr: Command, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_bdd100k(tmp_path)
    arguments = ["submit", "--checkpoint", weights / "eight.safetensors", "--dataset", tmp_path / "BDD100K"]
    code, out, _ = memotr(*arguments, "--split", "val", "--partial", "--format", "bdd100k")
    assert code == 0
    assert "2 files" in out


class Sizes:
    """A tracker that only notes how large its frames are."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def reset(self) -> None:
        pass

    def prepare(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return frame

    def update(self, frame: NDArray[np.uint8]) -> Tracks:
        self.seen.append(frame.shape[:2])
        return Tracks.empty(0, ("person",))


def test_images_are_taken_as_they_are_stored(tmp_path: Path) -> None:
    """Ground truth counts stored pixels, whatever rotation a file asks for."""
    layouts.write_dancetrack(tmp_path, length=2)
    file = tmp_path / "DanceTrack" / "val" / "dancetrack0001" / "img1" / "00000001.jpg"
    image = Image.open(file)
    image.getexif()[0x0112] = 6  # to be turned by a quarter
    image.save(file, exif=image.getexif())
    tracker = Sizes()
    sequences = load_benchmark(tmp_path / "DanceTrack", split="val").sequences
    track_sequences(tracker, sequences, tmp_path / "out", MOT_RESULTS)
    assert set(tracker.seen) == {(96, 160)}


def test_the_longest_sequence_comes_first(tmp_path: Path) -> None:
    layouts.write_dancetrack(tmp_path, sequences=3)
    benchmark = load_benchmark(tmp_path / "DanceTrack", split="val")
    assert list(map(len, benchmark.sequences)) == [10, 9, 8]
    assert benchmark.num_frames == 27


@pytest.mark.parametrize("command", ["eval", "submit"])
@pytest.mark.parametrize("absolute", [False, True])
def test_labels_do_not_decide_where_results_go(
    memotr: Command,  # noqa: F811
    weights: Path,
    tmp_path: Path,
    command: str,
    absolute: bool,
) -> None:
    layouts.write_bdd100k(tmp_path, videos=1)
    file = tmp_path / "BDD100K" / "labels" / "box_track_20" / "val" / "b1c66a42-0001.json"
    victim = tmp_path / "victim"
    name = str(victim) if absolute else "../../victim"
    images = file.parents[3] / "images" / "track" / "val"
    content = [frame | {"videoName": name} for frame in json.loads(file.read_text())]
    layouts.write_json(file, content)
    for frame in content:  # where such a name leads
        image = images / name / frame["name"]
        image.parent.mkdir(parents=True, exist_ok=True)
        (images / "b1c66a42-0001" / frame["name"]).rename(image)
    before = sorted(tmp_path.rglob("*.json"))
    arguments = ["--checkpoint", weights / "eight.safetensors", "--dataset", tmp_path / "BDD100K", "--split", "val"]
    code, _, errors = memotr(command, *arguments, "--output", tmp_path / "a" / "b")
    assert code == 2
    assert "leads into another folder" in errors
    assert errors.count("\n") == 1
    assert sorted(tmp_path.rglob("*.json")) == before
