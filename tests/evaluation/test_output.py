"""What a scored run leaves behind: tables, JSON, CSV, a picture; and reading it back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from memotr.errors import UserError
from memotr.evaluation.run_folder import read_run
from memotr.evaluation.score_files import write_scores
from memotr.evaluation.scoring import Scores, evaluate
from memotr.evaluation.tables import print_tables, score_tables
from memotr.files import replacing
from memotr.metrics.fields import combine, summary
from memotr.metrics.hota import ALPHAS
from tests.evaluation.generated import scene, write_rows, write_sequence, write_split
from tests.full_disk import files_end_at, needs_limits


@pytest.fixture
def scores(tmp_path: Path) -> Scores:
    return evaluate(*write_split(tmp_path, ["MOT17-02", "MOT17-04"], frames=10))


@pytest.fixture
def of_classes(tmp_path: Path) -> Scores:
    truth, found = scene(7, 10)
    gt, results = tmp_path / "classes" / "gt", tmp_path / "classes" / "results"
    write_sequence(gt / "a", [[*row[:7], row[1] % 2 + 1, 1] for row in truth], 10)
    write_rows(results / "a.txt", [[*row[:7], row[1] % 2 + 1] for row in found])
    return evaluate(gt, results)


def test_metrics_json(scores: Scores, tmp_path: Path) -> None:
    files = write_scores(tmp_path / "run", scores, title="a tracker", source={"split": "val"})
    assert sorted(file.name for file in files) == ["counts.json", "metrics.csv", "metrics.json", "thresholds.png"]
    assert set(files) == set((tmp_path / "run").iterdir())
    content = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(content) == {"combined", "sequences", "notes", "source"}
    assert content["source"] == {"split": "val"}
    assert content["combined"] == scores.combined
    assert content["sequences"] == scores.sequences
    fields = scores.mean.combined_fields
    assert content["combined"]["HOTA"] == pytest.approx(fields["HOTA"].mean())
    assert content["combined"]["HOTA(0)"] == fields["HOTA"][0]
    assert isinstance(content["combined"]["IDSW"], int)


def test_classes_in_json(of_classes: Scores, tmp_path: Path) -> None:
    write_scores(tmp_path / "run", of_classes, title="")
    content = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(content["classes"]) == {"class 1", "class 2"}
    assert content["classes"]["class 1"]["sequences"]["a"] == of_classes.classes["class 1"].sequences["a"]
    assert content["pooled"]["combined"]["Dets"] == content["combined"]["Dets"]


def test_csv(scores: Scores, of_classes: Scores, tmp_path: Path) -> None:
    write_scores(tmp_path / "one", scores, title="")
    write_scores(tmp_path / "two", of_classes, title="")
    rows = list(csv.DictReader((tmp_path / "one" / "metrics.csv").open()))
    assert [row["sequence"] for row in rows] == ["MOT17-02", "MOT17-04", "combined"]
    assert float(rows[2]["HOTA"]) == scores.combined["HOTA"]
    rows = list(csv.DictReader((tmp_path / "two" / "metrics.csv").open()))
    assert [(row["class"], row["sequence"]) for row in rows[::2]] == [
        ("class 1", "a"), ("class 2", "a"), ("all boxes", "a"), ("mean over classes", "a"),
    ]  # fmt: skip


def test_the_picture(scores: Scores, tmp_path: Path) -> None:
    write_scores(tmp_path, scores, title="a tracker")
    image = cv2.imread(str(tmp_path / "thresholds.png"))
    assert image.shape[0] > 500
    colours = {tuple(pixel) for pixel in image.reshape(-1, 3)[::7]}
    assert {(178, 114, 0), (0, 94, 213), (17, 17, 17)} <= colours  # BGR of the three curves


def test_tables(scores: Scores, of_classes: Scores, capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(score_tables(scores))
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    combined = next(line for line in lines if line and line[0] == "combined")
    assert combined[1] == f"{100 * scores.combined['HOTA']:.1f}"
    assert lines[0][:4] == ["sequence", "HOTA", "DetA", "AssA"]
    assert max(map(len, text.splitlines())) <= 80
    print_tables(score_tables(of_classes))
    text = capsys.readouterr().out
    assert "mean over classes" in text
    assert "class 2" in text


def test_a_run_is_read_back(scores: Scores, tmp_path: Path) -> None:
    write_scores(tmp_path, scores, title="")
    run = read_run(tmp_path)
    assert run.sequences == ("MOT17-02", "MOT17-04")
    again = summary(combine(list(run.counts["pedestrian"].values())))
    assert again == scores.combined
    assert json.loads((tmp_path / "counts.json").read_text())["alphas"] == ALPHAS.round(2).tolist()


def test_classes_with_other_sequences(scores: Scores, tmp_path: Path) -> None:
    write_scores(tmp_path, scores, title="")
    content = json.loads((tmp_path / "counts.json").read_text())
    content["classes"]["car"] = {}
    (tmp_path / "counts.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"is damaged \(its classes have different sequences\)"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"classes": {}}', '{"classes": {"a": {"s": {"HOTA_TP": 1}}}}', "[1]"])
def test_broken_runs(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"no metrics\.json; `memotr score … --output"):
        read_run(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "counts.json").write_text(text)
    with pytest.raises(UserError, match="was not written by memotr score or is damaged") as error:
        read_run(tmp_path)
    assert "\n" not in str(error.value)


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")

    def fail_half_way() -> None:
        with replacing(tmp_path / "a.txt") as beside:
            beside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


@needs_limits
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_a_full_disk_replaces_none_of_the_files(scores: Scores, tmp_path: Path, share: float) -> None:
    """Metrics of one run beside the counts of another would be compared as one."""
    write_scores(tmp_path / "run", scores, title="before")
    before = {file: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    size = int(share * max(len(content) for content in before.values()))
    with files_end_at(size), pytest.raises(UserError, match=r"cannot write .*run: File too large"):
        write_scores(tmp_path / "run", scores, title="after")
    assert {file: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_a_folder_that_cannot_be_written_to(scores: Scores, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*metrics.csv"):
        write_scores(tmp_path / "file", scores, title="")


def test_no_curve_of_a_sequence_is_lost(scores: Scores) -> None:
    for fields in scores.mean.fields.values():
        assert np.shape(fields["HOTA"]) == ALPHAS.shape
