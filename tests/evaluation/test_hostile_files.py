"""Ground truth, results and runs, changed at random: scored and shown, or one line that names what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memotr.data.formats.mot_text import read_results
from memotr.data.problems import Problems
from memotr.data.sequences import Sequence
from memotr.errors import UserError
from memotr.evaluation.compare import compare_runs
from memotr.evaluation.comparison_output import comparison_tables
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.run_folder import read_run
from memotr.evaluation.score_files import write_scores
from memotr.evaluation.scoring import evaluate
from memotr.inspection.error_page import write_page
from memotr.inspection.inspect_run import inspect_run
from memotr.submission.checked_files import check_bdd, check_mot
from tests.data import layouts
from tests.evaluation.generated import write_split
from tests.mutations import SEEDS, survives

NAMES = ("MOT17-02", "MOT17-04")


def mot(root: Path) -> tuple[Path, Path]:
    return write_split(root, NAMES, frames=6)


def bdd100k(root: Path) -> tuple[Path, Path]:
    layouts.write_bdd100k(root, videos=1, length=2, size=(24, 32), objects=2)
    truth = root / "BDD100K" / "labels" / "box_track_20" / "train"
    (root / "results").mkdir()
    for file in truth.glob("*.json"):
        frames = json.loads(file.read_text())
        frames = frames["frames"] if isinstance(frames, dict) else frames
        kept = [one | {"labels": [label for label in one["labels"] if label["category"] == "car"]} for one in frames]
        (root / "results" / file.name).write_text(json.dumps(kept))
    return truth, root / "results"


def coco_video(root: Path) -> tuple[Path, Path]:
    layouts.write_coco_video(root, videos=1, length=3, size=(24, 32), objects=2)
    (root / "results").mkdir()
    truth = root / "annotations" / "train.json"
    if not truth.exists():
        truth = next(root.glob("annotations/*train*.json"))
    for sequence in load_ground_truth(truth).sequences:
        (root / "results" / f"{sequence.name}.txt").write_text("1,1,2,2,9,9,1,1\n2,1,3,3,9,9,1,1\n")
    return truth, root / "results"


@pytest.mark.parametrize("mutations", SEEDS)
@pytest.mark.parametrize("write", [mot, bdd100k, coco_video])
def test_scoring(write: Callable[[Path], tuple[Path, Path]], tmp_path: Path, mutations: range) -> None:
    truth, results = write(tmp_path)
    places = [truth] if truth.is_file() else [*truth.rglob("*.txt"), *truth.rglob("*.ini"), *truth.rglob("*.json")]
    survives([*places, *results.iterdir()], lambda: evaluate(truth, results), mutations)


@pytest.mark.parametrize("mutations", SEEDS)
def test_runs_that_are_read_again(tmp_path: Path, mutations: range) -> None:
    truth, results = mot(tmp_path)
    source = {"ground_truth": str(truth), "results": str(results), "split": None, "half": False, "format": "auto"}
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        write_scores(folder, evaluate(truth, results), title="run", source=source)

    def read() -> None:
        comparison = compare_runs([read_run(folder) for folder in folders], resamples=100)
        comparison_tables(comparison)
        inspection = inspect_run(folders[0])
        write_page(tmp_path / "page.html", inspection, images=None, worst=2)

    survives([folders[0] / "counts.json", folders[0] / "metrics.json"], read, mutations)


@pytest.mark.parametrize("mutations", SEEDS)
def test_result_files_on_their_way_to_a_server(tmp_path: Path, mutations: range) -> None:
    images = tuple(Path(f"b1c6-{k + 1:07d}.jpg") for k in range(2))
    video = Sequence("b1c6", images, None, ("car",), size=(24, 32), first_frame=0)
    text, frames = tmp_path / "b1c6.txt", tmp_path / "b1c6.json"
    text.write_text("1,1,2,2,9,9,0.9,-1,-1,-1\n2,1,3,3,9,9,0.9,-1,-1,-1\n")
    label = {"id": "1", "category": "car", "score": 0.9, "box2d": {"x1": 1, "y1": 1, "x2": 9, "y2": 9}}
    content = [
        {"name": image.name, "videoName": "b1c6", "frameIndex": k, "labels": [label]} for k, image in enumerate(images)
    ]
    frames.write_text(json.dumps(content))
    survives([text], lambda: check_mot(text, video), mutations)
    survives([frames], lambda: check_bdd(frames, video), mutations)


@pytest.mark.parametrize("text", ["1\n", "1", "1,2\n", "\n\n1 2 3\n"])
def test_a_file_of_too_few_columns(text: str, tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text(text)
    line = text.count("\n", 0, text.index("1")) + 1
    with pytest.raises(UserError, match=f"gt.txt:{line}: found . values; expected frame, id"):
        read_results(tmp_path / "gt.txt", Problems(stop=True))


def test_lines_of_commas_alone_are_blank(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("\t,\n")
    assert len(read_results(file, Problems(stop=True))) == 0
    file.write_text(",,\n1,1,2,2,9,9,\n1,-1,2,2,9,9\n")
    with pytest.raises(UserError, match=r"a\.txt:3: id -1"):
        read_results(file, Problems(stop=True))


@pytest.mark.parametrize("value", ["9" * 400, "1e300", "NaN", '"1"', "[1]", "null", "true", "{}"])
def test_counts_that_no_scoring_gives(value: str, tmp_path: Path) -> None:
    truth, results = mot(tmp_path)
    write_scores(tmp_path / "run", evaluate(truth, results), title="")
    file = tmp_path / "run" / "counts.json"
    content = json.loads(file.read_text())
    next(iter(next(iter(content["classes"].values())).values()))["CLR_TP"] = "HERE"
    file.write_text(json.dumps(content).replace('"HERE"', value))
    with pytest.raises(UserError, match=r"counts\.json: was not written by memotr score or is damaged") as error:
        read_run(tmp_path / "run")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [10**3, 10**12 - 1])
@pytest.mark.parametrize("half", [False, True])
def test_the_announced_length_changes_no_number(length: int, half: bool, tmp_path: Path) -> None:
    """Frames without any box cost nothing, however many a file says there are; the number of frames is the one said."""
    truth, results = mot(tmp_path)
    wanted = evaluate(load_ground_truth(truth), results).combined
    for name in NAMES:
        info = truth / name / "seqinfo.ini"
        info.write_text(f"[Sequence]\nseqLength={length}\n")
    if half:
        (sequence, _) = load_ground_truth(truth, half=True).sequences
        assert (len(sequence.frames), len(sequence.objects)) == (length - length // 2 - 1, 0)
        return
    source = {"ground_truth": str(truth), "results": str(results)}
    scores = evaluate(load_ground_truth(truth), results)
    by_length = {"CLR_Frames", "Frames", "FP_per_frame"}
    assert {key for key, value in scores.combined.items() if value != wanted[key]} <= by_length
    assert scores.combined["CLR_Frames"] == 2 * length
    write_scores(tmp_path / "run", scores, title="", source=source)
    write_page(tmp_path / "page.html", inspect_run(tmp_path / "run"), images=None, worst=2)
    assert np.isfinite(list(scores.combined.values())).all()
