"""Real ground truth and real trackers' results: against published numbers, and against TrackEval's own run of them.

The files are not part of the project; where they are not found the tests are skipped.
"""

from __future__ import annotations

import csv
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from memotr.data.formats.mot_text import read_values
from memotr.data.problems import Problems
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.results import read_results
from memotr.evaluation.scoring import ClassScores, evaluate
from memotr.metrics.fields import class_mean, combine, score
from memotr.metrics.preprocessing import metric_inputs
from memotr.metrics.teta import with_last_pixels
from tests.evaluation.generated import write_rows
from tests.evaluation.trackeval_run import assert_equal, run_mot

DATA = Path(os.environ.get("MEMOTR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
VAL = DATA / "mot17_val_deep_oc_sort"
MPN = DATA / "mot17_mpntrack"

pytestmark = pytest.mark.skipif(not VAL.is_dir(), reason="needs the folder of real results (MEMOTR_TEST_DATA)")


def detailed(scores: ClassScores) -> dict[str, dict[str, float]]:
    """Row → column → value, named as in TrackEval's detailed CSV."""
    table: dict[str, dict[str, float]] = {}
    for name, fields in {**scores.fields, "COMBINED": scores.combined_fields}.items():
        row = table[name] = {}
        for field, value in fields.items():
            if np.ndim(value) == 0:
                row[field] = float(value)
                continue
            row |= {f"{field}___{5 * k}": float(at) for k, at in enumerate(value, start=1)}
            row[f"{field}___AUC"] = float(np.mean(value))
    return table


def lengths(gt: Path) -> dict[str, int]:
    return {each.name: each.length for each in load_ground_truth(gt).sequences}


@pytest.mark.parametrize("tracker", ["exp1", "test1_inter_results"])
def test_published_table_of_mot17_val(tracker: str) -> None:
    """Every value of the CSV that was published with the results, but RHOTA, which TrackEval has dropped since."""
    folder = VAL / "trackers_06f3054" / "MOT17-val" / tracker
    ours = detailed(evaluate(VAL / "gt" / "MOT17-val", folder).mean)
    with (folder / "pedestrian_detailed.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    compared = 0
    for row in rows:
        name = row.pop("seq")
        for column, value in row.items():
            if not column.startswith("RHOTA"):
                assert float(value) == ours[name][column], (name, column)  # in every bit
                compared += 1
    assert compared == 8 * 255


def whole_mot17(folder: Path, detector: str) -> Path:
    """Ground truth of all of MOT17 train; the three copies of a video have the same."""
    for source in (MPN / "gt" / "mot_challenge" / "MOT17").glob("*-DPM"):
        shutil.copytree(source, folder / source.name.replace("DPM", detector))
    return folder


def test_the_half_split_is_the_published_one(tmp_path: Path) -> None:
    """The second half of the whole ground truth gives the numbers of the published files, which hold that half only."""
    results = VAL / "trackers_06f3054" / "MOT17-val" / "exp1"
    truth = load_ground_truth(whole_mot17(tmp_path, "FRCNN"), half=True)
    assert evaluate(truth, results).combined == evaluate(VAL / "gt" / "MOT17-val", results).combined


def test_published_numbers_of_mot15(tmp_path: Path) -> None:
    """By py-motmetrics, an implementation that shares nothing with TrackEval."""
    for name in ("TUD-Campus", "TUD-Stadtmitte"):
        shutil.copy(DATA / "mot15_tud" / name / "test.txt", tmp_path / f"{name}.txt")
    found = evaluate(DATA / "mot15_tud", tmp_path).sequences
    for name, id_f1, mota in (("TUD-Campus", 0.557659, 0.526462), ("TUD-Stadtmitte", 0.644619, 0.564014)):
        assert found[name]["IDF1"] == pytest.approx(id_f1, abs=5e-7)
        assert found[name]["MOTA"] == pytest.approx(mota, abs=5e-7)


def test_mpntrack_on_whole_sequences(tmp_path: Path) -> None:
    names = ["MOT17-02-FRCNN", "MOT17-05-FRCNN", "MOT17-09-FRCNN"]
    gt = whole_mot17(tmp_path / "gt", "FRCNN")
    results = MPN / "MPNTrack_FRCNN"
    ours = evaluate(load_ground_truth(gt, only=names), results)
    theirs = run_mot(gt, results, {name: lengths(gt)[name] for name in names}, "MOT17")
    assert_equal(ours.mean, theirs, tolerance=0)


@pytest.mark.slow
def test_mpntrack_on_all_of_mot17(tmp_path: Path) -> None:
    with tarfile.open(MPN / "MPNTrack_results.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    for detector in ("DPM", "FRCNN", "SDP"):
        whole_mot17(tmp_path / "gt", detector)
    results = tmp_path / "MPNTrack" / "data"
    theirs = run_mot(tmp_path / "gt", results, lengths(tmp_path / "gt"), "MOT17")
    assert len(theirs) == 22
    assert_equal(evaluate(tmp_path / "gt", results, workers=2).mean, theirs, tolerance=0)


def spoiled(gt: Path, results: Path) -> Path:
    """Results made of the ground truth, since none are at hand: boxes shaken, lost, switched and made up."""
    for source in load_ground_truth(gt).sequences:
        rng = np.random.default_rng(len(source.objects))
        rows = read_values(gt / source.name / "gt" / "gt.txt", Problems(stop=True)).values[:, :7].copy()
        rows[:, 2:4] += rng.normal(0, 6, (len(rows), 2))
        rows[:, 4:6] *= rng.uniform(0.8, 1.2, (len(rows), 2))
        rows[:, 1] += 1000 * (rows[:, 0] // 150) * (rows[:, 1] % 3 == 0)
        write_rows(results / f"{source.name}.txt", rows[rng.random(len(rows)) < 0.9].round(2).tolist())
    return results


@pytest.mark.slow
def test_dancetrack_val(tmp_path: Path) -> None:
    gt = VAL / "gt" / "DANCE-val"
    results = spoiled(gt, tmp_path / "results")
    ours = evaluate(gt, results, workers=2)
    assert ours.combined["GT_Dets"] == 225_148
    assert ours.combined["GT_IDs"] == 273
    assert_equal(ours.mean, run_mot(gt, results, lengths(gt), "MOT17"), tolerance=0)


def test_mot20(tmp_path: Path) -> None:
    """With its distractors, non-motorised vehicles among them."""
    gt = tmp_path / "gt"
    shutil.copytree(VAL / "gt" / "MOT20-val" / "MOT20-01", gt / "MOT20-01")
    results = spoiled(gt, tmp_path / "results")
    ours = evaluate(gt, results)
    assert ours.combined["Dets"] < len(read_values(results / "MOT20-01.txt", Problems(stop=True)))
    assert_equal(ours.mean, run_mot(gt, results, lengths(gt), "MOT20"), tolerance=0)


def test_published_clear_values_of_bdd100k() -> None:
    """By Scalabel's evaluation, in which the last pixel belongs to a box; TrackEval's BDD100K is without it."""
    folder = DATA / "bdd100k_sequence"
    labels = load_ground_truth(folder / "track_sample_anns.json")
    (truth,) = labels.sequences
    (found,) = read_results(folder / "track_predictions.json", labels).boxes.values()
    truth = replace(truth, objects=with_last_pixels(truth.objects), regions=with_last_pixels(truth.regions))
    classes = [score(data) for data in metric_inputs(truth, with_last_pixels(found), 8)]
    pooled, mean = combine(classes), class_mean(classes)
    assert 100 * pooled["IDF1"] == pytest.approx(71.01073676, abs=1e-8)
    assert 100 * pooled["MOTA"] == pytest.approx(64.20070762, abs=1e-8)
    # Scalabel's matching clings to older matches than TrackEval's does, so a few pairs have other overlaps.
    assert 100 * pooled["MOTP"] == pytest.approx(87.16143945, abs=5e-3)
    assert (pooled["CLR_FP"], pooled["CLR_FN"], pooled["IDSW"]) == (126, 942, 45)
    assert 100 * mean["IDF1"] == pytest.approx(32.24781944, abs=1e-8)
    assert 100 * mean["MOTA"] == pytest.approx(24.32420464, abs=1e-8)
