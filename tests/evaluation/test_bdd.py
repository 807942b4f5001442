"""BDD100K: HOTA, CLEAR and Identity of every class as TrackEval computes them, TETA beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trackeval

from memotr.data.protocols import BDD100K_CATEGORIES
from memotr.errors import UserError
from memotr.evaluation.compare import compare_runs
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.run_folder import read_run
from memotr.evaluation.score_files import write_scores
from memotr.evaluation.scoring import evaluate
from memotr.metrics.bootstrap import combined_teta
from tests.evaluation.generated import scene
from tests.evaluation.trackeval_run import METRICS, assert_equal, run
from tests.metrics.teta_files import evaluate_teta

ALL = (*BDD100K_CATEGORIES, "other person", "trailer")
LENGTH = 25


def frames_of(rows: list, video: str, crowds: bool) -> list[dict]:
    """Scalabel frames, with the keys that TrackEval's reader wants beside ours (``index``, ``Crowd``)."""
    frames = [
        {"name": f"{video}-{k + 1:07d}.jpg", "videoName": video, "frameIndex": k, "index": k, "labels": []}
        for k in range(LENGTH)
    ]
    for frame, track, left, top, width, height, *_ in rows:
        crowd = crowds and track % 5 == 0
        corners = {"x1": left, "y1": top, "x2": left + abs(width), "y2": top + abs(height)}
        category = ALL[int(track) % len(ALL)] if crowds or track % 9 else "car"
        frames[int(frame) - 1]["labels"].append(
            {
                "id": str(int(track)),
                "category": category,
                "attributes": {"crowd": crowd, "Crowd": crowd},
                "box2d": corners,
            }
        )
    return frames


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Labels of two videos and results for them."""
    for seed, video in enumerate(("b1c6-01", "b1c6-02")):
        truth, found = scene(seed, LENGTH, objects=20)
        # Tracks take the class of an object, so that most are right about it.
        names = sorted({row[1] for row in truth})
        found = [[row[0], names[int(row[1]) % len(names)] + 100 * int(row[1] >= 1000), *row[2:]] for row in found]
        first = {(row[0], row[1]): row for row in reversed(found)}
        for kind, rows in (("gt", truth), ("results/t/data", list(first.values()))):
            file = tmp_path / kind / f"{video}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(frames_of(rows, video, crowds=kind == "gt")))
    return tmp_path / "gt", tmp_path / "results" / "t" / "data"


def test_equal_to_trackeval(folders: tuple[Path, Path]) -> None:
    gt, results = folders
    dataset = trackeval.datasets.BDD100K(
        {"GT_FOLDER": str(gt), "TRACKERS_FOLDER": str(results.parents[1]), "PRINT_CONFIG": False}
    )
    theirs = run(dataset, "t")
    scores = evaluate(gt, results)
    assert tuple(scores.classes) == BDD100K_CATEGORIES
    for name, ours in scores.classes.items():
        assert_equal(ours, {video: of[name] for video, of in theirs.items()})
    for ours, key in ((scores.mean, "cls_comb_cls_av"), (scores.pooled, "cls_comb_det_av")):
        for metric in METRICS:
            for field, value in theirs["COMBINED_SEQ"][key][metric].items():
                np.testing.assert_allclose(ours.combined_fields[field], value, rtol=0, atol=1e-12, err_msg=field)
    assert scores.combined["HOTA"] > 0.05
    assert scores.combined["Dets"] < sum(
        len(frame["labels"]) for file in results.glob("*") for frame in json.loads(file.read_text())
    )


def test_teta_is_there_too(folders: tuple[Path, Path]) -> None:
    gt, results = folders
    scores = evaluate(gt, results, workers=1)
    assert scores.teta is not None
    alone = evaluate_teta(gt, results)
    assert scores.teta.combined.mean.summary() == alone.mean.summary()
    assert scores.teta.combined.present == alone.present
    assert set(scores.teta.sequences) == {"b1c6-01", "b1c6-02"}


def test_a_run_with_teta_is_read_back_and_compared(folders: tuple[Path, Path], tmp_path: Path) -> None:
    gt, results = folders
    scores = evaluate(gt, results)
    for name in ("a", "b"):
        write_scores(tmp_path / name, scores, title=name)
    run = read_run(tmp_path / "a")
    assert scores.teta is not None
    combined = combined_teta(run.teta, run.sequences, np.ones((1, 2)))
    summary = scores.teta.combined.mean.summary()
    assert combined["TETA"][0] == pytest.approx(summary["TETA"])
    assert combined["TETA ClsA"][0] == pytest.approx(summary["ClsA"])
    content = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert content["teta"]["combined"] == summary
    comparison = compare_runs([run, read_run(tmp_path / "b")], resamples=100)
    assert comparison.sentences()[0] == "b and a do not differ in TETA."
    assert comparison.values["HOTA"][0] == pytest.approx(scores.combined["HOTA"])


def test_the_data_sets_own_layout(folders: tuple[Path, Path], tmp_path: Path) -> None:
    labels = tmp_path / "BDD100K" / "labels" / "box_track_20" / "val"
    labels.parent.mkdir(parents=True)
    folders[0].rename(labels)
    truth = load_ground_truth(tmp_path / "BDD100K", split="val")
    assert truth.names == ("b1c6-01", "b1c6-02")
    assert load_ground_truth(labels, only=["*02"]).names == ("b1c6-02",)
    assert load_ground_truth(tmp_path / "BDD100K").names == truth.names
    (labels.parent / "train").mkdir()
    with pytest.raises(UserError, match="has the splits train, val; choose one with --split"):
        load_ground_truth(tmp_path / "BDD100K")
    with pytest.raises(UserError, match="no sequence is named x; available are b1c6-01, b1c6-02"):
        load_ground_truth(labels, only=["x"])
    with pytest.raises(UserError, match="--half does not apply to BDD100K, only to MOTChallenge text and COCO video"):
        load_ground_truth(labels, half=True)
    (tmp_path / "seqmap.txt").write_text("b1c6-01\n")
    with pytest.raises(UserError, match="the format bdd100k does not support 'seqmap'"):
        load_ground_truth(labels, seqmap=tmp_path / "seqmap.txt")


def test_videos_without_results_and_results_of_other_videos(folders: tuple[Path, Path]) -> None:
    gt, results = folders
    (results / "b1c6-02.json").unlink()
    with pytest.raises(UserError, match="no results for video 'b1c6-02'"):
        evaluate(gt, results)
    scores = evaluate(gt, results, allow_missing=True)
    assert scores.notes == ("videos without results, scored as empty: b1c6-02",)
    (gt / "b1c6-02.json").unlink()
    (results / "b1c6-02.json").write_text(json.dumps(frames_of([], "b1c6-02", crowds=False)))
    assert evaluate(gt, results).notes == ("results of videos that are not scored: b1c6-02",)
    with pytest.raises(UserError, match="no such file or folder"):
        evaluate(gt, results / "nothing")
