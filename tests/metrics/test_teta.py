"""TETA against a slow version written from its definition, cases worked out by hand, and a real sequence."""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from memotr.metrics.teta import TetaCounts, VideoBoxes, combine, teta_sequence, with_last_pixels
from tests.metrics.teta_files import evaluate_teta, teta_by_video

REAL = Path(os.environ.get("MEMOTR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "bdd100k_sequence"
COUNTS = [f.name for f in fields(TetaCounts)]


class Box(NamedTuple):
    frame: int
    id: int
    label: int
    xyxy: tuple[float, float, float, float]
    ignore: bool = False


def table(boxes: list[Box]) -> VideoBoxes:
    boxes = sorted(boxes, key=lambda box: box.frame)  # stable: the order within a frame stays
    return VideoBoxes(
        frames=np.array([box.frame for box in boxes], np.int64),
        ids=np.array([box.id for box in boxes], np.int64),
        labels=np.array([box.label for box in boxes], np.int64),
        boxes=np.array([box.xyxy for box in boxes], np.float64).reshape(-1, 4),
        ignore=np.array([box.ignore for box in boxes], np.bool_),
    )


def count(gt: list[Box], pred: list[Box], num_classes: int = 1) -> TetaCounts:
    return teta_sequence(table(gt), table(pred), num_classes)


# The slow version: lists, loops and dictionaries, in the steps of the definition.


def shared_area(a: Box, b: Box) -> float:
    width = min(a.xyxy[2], b.xyxy[2]) - max(a.xyxy[0], b.xyxy[0])
    height = min(a.xyxy[3], b.xyxy[3]) - max(a.xyxy[1], b.xyxy[1])
    return max(width, 0) * max(height, 0)


def area(a: Box) -> float:
    return (a.xyxy[2] - a.xyxy[0]) * (a.xyxy[3] - a.xyxy[1])


def iou(a: Box, b: Box) -> float:
    return shared_area(a, b) / (area(a) + area(b) - shared_area(a, b))


def hungarian(scores: list[list[float]]) -> list[tuple[int, int]]:
    if not scores or not scores[0]:
        return []
    rows, columns = linear_sum_assignment(-np.array(scores))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def slow_ignore(gt: list[Box], regions: list[Box], pred: list[Box]) -> list[Box]:
    kept = []
    for frame in sorted({box.frame for box in pred}):
        objects = [box for box in gt if box.frame == frame]
        found = [box for box in pred if box.frame == frame]
        scores = [[iou(a, b) if iou(a, b) >= 0.5 else 0.0 for b in found] for a in objects]
        matched = {column for row, column in hungarian(scores) if scores[row][column] > 0}
        for number, box in enumerate(found):
            inside = [shared_area(box, region) / area(box) for region in regions if region.frame == frame]
            if number in matched or all(part <= 0.5 for part in inside):
                kept.append(box)
    return kept


def slow_match(gt: list[Box], pred: list[Box]) -> list[tuple[Box, Box]]:
    by_frame = {
        frame: ([box for box in gt if box.frame == frame], [box for box in pred if box.frame == frame])
        for frame in sorted({box.frame for box in gt + pred})
    }
    together: dict[tuple[int, int], float] = defaultdict(float)
    for objects, found in by_frame.values():
        sim = [[iou(a, b) for b in found] for a in objects]
        for r, c in itertools.product(range(len(objects)), range(len(found))):
            rivals = sum(sim[r]) + sum(row[c] for row in sim) - sim[r][c]
            together[objects[r].id, found[c].id] += sim[r][c] / rivals if rivals > 0 else 0.0
    in_gt, in_pred = Counter(box.id for box in gt), Counter(box.id for box in pred)
    matches = []
    for objects, found in by_frame.values():
        scores = [[0.0] * len(found) for _ in objects]
        for r, c in itertools.product(range(len(objects)), range(len(found))):
            common = together[objects[r].id, found[c].id]
            aligned = common / (in_gt[objects[r].id] + in_pred[found[c].id] - common)
            scores[r][c] = aligned * iou(objects[r], found[c])
        matches += [(objects[r], found[c]) for r, c in hungarian(scores)]
    return matches


def touches(box: Box, objects: list[Box]) -> bool:
    return any(box.frame == other.frame and iou(other, box) >= 0.5 for other in objects)


def slow_count(gt: list[Box], pred: list[Box], num_classes: int) -> dict[str, list]:
    objects, regions = [box for box in gt if not box.ignore], [box for box in gt if box.ignore]
    pred = slow_ignore(objects, regions, pred)  # step 1
    seen = {box.id for box in pred if touches(box, objects)}  # step 2
    holder = {b: a for a, b in slow_match(objects, [box for box in pred if box.id in seen]) if iou(a, b) >= 0.5}
    counts: dict[str, list] = {
        name: [[0] * (10 if "cls" in name else 20) for _ in range(num_classes)] for name in COUNTS
    }
    for c in range(num_classes):  # step 3
        of_class = [box for box in objects if box.label == c]
        local = [box for box in pred if touches(box, of_class) and not (box in holder and holder[box].label != c)]
        tracks = {box.id for box in local}
        candidates = [box for box in pred if box.id in tracks]
        matches = slow_match(of_class, candidates)
        for a in range(20):
            at = [(x, y) for x, y in matches if iou(x, y) + 1e-12 >= a / 20]
            counts["loc_tp"][c][a] = len(at)
            counts["loc_fn"][c][a] = len(of_class) - len(at)
            counts["loc_fp"][c][a] = len([box for box in local if box not in [y for _, y in at]])
            for x, y in at:
                both = len([1 for v, w in at if (v.id, w.id) == (x.id, y.id)])
                in_gt = len([box for box in of_class if box.id == x.id])
                in_pred = len([box for box in candidates if box.id == y.id])
                counts["assoc_a"][c][a] += both / (in_gt + in_pred - both)
                counts["assoc_re"][c][a] += both / in_gt
                counts["assoc_pr"][c][a] += both / in_pred
        astray = len([box for box in pred if box.label == c and box not in local])
        for a in range(10):
            if not of_class or not local:
                counts["cls_fp"][c][a] = 0  # the restart
            counts["cls_fp"][c][a] += astray
            for x, y in matches:
                if iou(x, y) + 1e-12 < (a + 10) / 20:
                    continue
                counts["cls_tp" if y.label == c else "cls_fn"][c][a] += 1
                if y.label not in (c, -1):
                    counts["cls_fp"][y.label][a] += 1
    return counts


def random_video(seed: int, num_classes: int) -> tuple[list[Box], list[Box]]:
    """Moving objects that now and then change class, crowds, and tracks that follow, drift, swap, err or see ghosts."""
    rng = np.random.default_rng(seed)
    objects, tracks = int(rng.integers(0, 6)), int(rng.integers(0, 8))
    start, step, size = (
        rng.uniform(0, 60, (objects, 2)),
        rng.normal(0, 2, (objects, 2)),
        rng.uniform(15, 40, (objects, 2)),
    )
    label = rng.integers(0, num_classes, objects)
    gt, pred = [], []
    for frame in range(int(rng.integers(1, 9))):
        for i in rng.permutation(objects):
            corner, now = start[i] + step[i] * frame, label[i] if rng.random() < 0.9 else rng.integers(num_classes)
            if rng.random() < 0.8:
                gt.append(Box(frame, 3 * int(i) + 2, int(now), (*corner, *(corner + size[i]))))
        for _ in range(rng.integers(0, 3)):
            corner = rng.uniform(0, 80, 2)
            gt.append(Box(frame, 99, 0, (*corner, *(corner + rng.uniform(10, 60, 2))), ignore=True))
        for j in rng.permutation(tracks):
            corner, extent, called = rng.uniform(0, 80, 2), rng.uniform(10, 40, 2), rng.integers(-1, num_classes)
            if objects and rng.random() < 0.8:
                i = j % objects if rng.random() < 0.85 else rng.integers(objects)
                corner = start[i] + step[i] * frame + rng.normal(0, rng.choice([0.5, 4]), 2)
                extent = size[i] * rng.uniform(0.85, 1.15, 2)
                called = label[i] if rng.random() < 0.7 else called
            if rng.random() < 0.8:
                pred.append(Box(frame, 7 * int(j) + 1, int(called), (*corner, *(corner + extent))))
    return gt, pred


@pytest.mark.parametrize("seed", range(60))
def test_random_videos_are_counted_as_the_slow_version_counts(seed: int) -> None:
    num_classes = 1 + seed % 4
    gt, pred = random_video(seed, num_classes)
    fast, slow = count(gt, pred, num_classes), slow_count(gt, pred, num_classes)
    for name in COUNTS:
        np.testing.assert_allclose(getattr(fast, name), slow[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_random_videos_cover_all_cases() -> None:
    seen: Counter[str] = Counter()
    for seed in range(60):
        gt, pred = random_video(seed, 1 + seed % 4)
        objects, regions = [box for box in gt if not box.ignore], [box for box in gt if box.ignore]
        counts = slow_count(gt, pred, 1 + seed % 4)
        seen["no objects"] += not objects
        seen["no predictions"] += not pred
        seen["a frame without objects"] += len({box.frame for box in objects}) < len({box.frame for box in pred})
        seen["dropped in a crowd"] += len(slow_ignore(objects, regions, pred)) < len(pred)
        seen["kept in a crowd"] += bool(regions) and len(slow_ignore([], regions, pred)) < len(
            slow_ignore(objects, regions, pred)
        )
        seen["wrong class"] += bool(np.sum(counts["cls_fn"]))
        seen["localisation FP"] += bool(np.sum(counts["loc_fp"]))
        seen["identity switch"] += bool(0 < np.sum(counts["assoc_re"]) < np.sum(counts["loc_tp"]) - 1e-9)
        seen["class without objects"] += bool((np.add(counts["loc_tp"], counts["loc_fn"])[:, 0] == 0).any())
    assert min(seen.values()) >= 3, seen
    assert len(seen) == 9


@pytest.mark.parametrize("seed", range(10))
def test_scores_of_several_videos(seed: int) -> None:
    videos = [random_video(100 * seed + n, 3) for n in range(4)]
    scores = combine([count(gt, pred, 3) for gt, pred in videos], ["a", "b", "c"])
    slow = [slow_count(gt, pred, 3) for gt, pred in videos]
    rows = []
    for c, name in enumerate(scores.classes):
        total = {key: [sum(video[key][c][a] for video in slow) for a in range(len(slow[0][key][c]))] for key in COUNTS}
        cls_a = [
            tp / max(1, tp + fn + fp)
            for tp, fn, fp in zip(total["cls_tp"], total["cls_fn"], total["cls_fp"], strict=True)
        ]
        row = []
        for a in range(20):
            tp, fn, fp = (total[key][a] for key in ("loc_tp", "loc_fn", "loc_fp"))
            # Every video's own AssocA, weighted by its matches.
            own = [video["assoc_a"][c][a] / max(1, video["loc_tp"][c][a]) for video in slow]
            assoc_a = sum(x * video["loc_tp"][c][a] for x, video in zip(own, slow, strict=True)) / max(1, tp)
            row.append((tp / max(1, tp + fn + fp) + assoc_a + sum(cls_a) / 10) / 3)
        np.testing.assert_allclose(scores.classes[name].teta, row, rtol=1e-12)
        if any(np.sum([total[key] for key in ("loc_tp", "loc_fn", "loc_fp")], axis=0)):
            rows.append(row)
    np.testing.assert_allclose(scores.mean.teta, np.mean(rows, axis=0), rtol=1e-12)
    assert scores.mean.summary()["TETA"] == pytest.approx(np.mean(rows), rel=1e-12)


# Cases worked out by hand. A box of w × 10 at the corner of the 10 × 10 object has an IoU of w / 10 with it.

OBJECT = (0.0, 0.0, 10.0, 10.0)
FAR = (500.0, 0.0, 510.0, 10.0)


def strip(width: float) -> tuple[float, float, float, float]:
    return 0.0, 0.0, width, 10.0


def test_one_box() -> None:
    # IoU 0.8 ≥ α for 17 of the 20 thresholds (0 … 0.8) and for 7 of the ten from 0.5 on. Above, the object is missed
    # and the prediction, which is local, is a false positive: LocA = LocRe = LocPr = AssocA = 17/20 and ClsA = 7/10;
    # TETA = (0.85 + 0.85 + 0.7) / 3 = 0.8.
    counts = count([Box(0, 1, 0, OBJECT)], [Box(0, 5, 0, strip(8))])
    assert counts.loc_tp.tolist() == [[1] * 17 + [0] * 3]
    assert counts.loc_fn.tolist() == counts.loc_fp.tolist() == [[0] * 17 + [1] * 3]
    summary = combine([counts], ["car"]).mean.summary()
    assert summary == pytest.approx(
        {"TETA": 0.8, "ClsA": 0.7, "ClsRe": 0.7, "ClsPr": 0.7}
        | dict.fromkeys(("LocA", "LocRe", "LocPr", "AssocA", "AssocRe", "AssocPr"), 0.85)
    )


@pytest.mark.parametrize("steps", range(10, 20))
def test_an_iou_that_is_the_threshold_is_enough(steps: int) -> None:
    # 0.6 is less than 12 × 0.05 in floating point; both mean six tenths.
    counts = count([Box(0, 1, 0, OBJECT)], [Box(0, 5, 0, strip(steps / 2))])
    assert counts.loc_tp.tolist() == [[1] * (steps + 1) + [0] * (19 - steps)]


def test_wrong_class() -> None:
    # A car called bus: found (LocA 1), followed (AssocA 1), wrong (ClsA 0 / (0 + 1) = 0); TETA = 2/3. Bus has no ground
    # truth and stays out of the mean.
    scores = combine([count([Box(0, 1, 0, OBJECT)], [Box(0, 5, 1, OBJECT)], 2)], ["car", "bus"])
    assert scores.present == ("car",)
    assert scores.mean.summary() == scores.classes["car"].summary()
    summary = scores.mean.summary()
    assert [summary[key] for key in ("LocA", "AssocA", "ClsA")] == [1, 1, 0]
    assert summary["TETA"] == pytest.approx(2 / 3)


def test_false_positives_of_a_class_restart() -> None:
    # The prediction called x is away from every x (there is none): one false positive of x. The object of class y that
    # it was matched to adds another one. If y comes first, x without ground truth then restarts at its own 1; if x
    # comes first, both stay.
    y_first = count([Box(0, 1, 0, OBJECT)], [Box(0, 5, 1, OBJECT)], 2)
    assert y_first.cls_fp.tolist() == [[0] * 10, [1] * 10]
    x_first = count([Box(0, 1, 1, OBJECT)], [Box(0, 5, 0, OBJECT)], 2)
    assert x_first.cls_fp.tolist() == [[2] * 10, [0] * 10]
    # There is ground truth of x, but no prediction is local to it: the same.
    y_first = count([Box(0, 1, 0, OBJECT), Box(0, 2, 1, FAR)], [Box(0, 5, 1, OBJECT)], 2)
    assert y_first.cls_fp.tolist() == [[0] * 10, [1] * 10]
    # With a prediction local to it there is no restart: 1 + 1.
    gt = [Box(0, 1, 0, OBJECT), Box(0, 2, 1, FAR)]
    y_first = count(gt, [Box(0, 5, 1, OBJECT), Box(0, 6, 1, FAR)], 2)
    assert y_first.cls_fp.tolist() == [[0] * 10, [2] * 10]


def test_predictions_away_from_every_object() -> None:
    gt = [Box(0, 1, 0, OBJECT)]
    pred = [Box(0, 5, 1, OBJECT), Box(0, 6, 0, FAR), Box(0, 7, 1, (700, 0, 710, 10))]
    # Class 0 has the one far away; class 1 restarts at its two.
    assert count(gt, pred, 2).cls_fp.tolist() == [[1] * 10, [2] * 10]


def test_the_row_of_one_sequence_has_the_errors_of_later_classes() -> None:
    # Class 0: one car called car, and the bus (class 1, counted after it) called car: ClsPr = ClsA = 1 / (1 + 1 + 1),
    # as the prediction on the bus is also away from every car.
    gt = [Box(0, 1, 0, OBJECT), Box(0, 2, 1, FAR)]
    pred = [Box(0, 5, 0, OBJECT), Box(0, 6, 0, FAR)]
    row = combine([count(gt, pred, 2)], ["car", "bus"]).classes["car"].summary()
    assert row["ClsPr"] == row["ClsA"] == pytest.approx(1 / 3)


def test_a_class_that_is_not_evaluated() -> None:
    # Found and followed, wrong about the class, nobody's false positive.
    counts = count([Box(0, 1, 0, OBJECT)], [Box(0, 5, -1, OBJECT)], 2)
    assert counts.loc_tp[0].tolist() == [1] * 20
    assert counts.cls_fn[0].tolist() == [1] * 10
    assert not counts.cls_fp.any()


def test_identity_switch() -> None:
    # Object in 4 frames, track 5 on it for 3, track 6 for 1. Track 5: 3 matches of 3 / (4 + 3 − 3) = 3/4; track 6: one
    # of 1 / (4 + 1 − 1) = 1/4. AssocA = (3 · 3/4 + 1 · 1/4) / 4 = 0.625, and recall (3/4, 1/4) is the same; precision
    # is 3/3 and 1/1.
    gt = [Box(frame, 1, 0, OBJECT) for frame in range(4)]
    pred = [Box(frame, 5 + (frame == 3), 0, OBJECT) for frame in range(4)]
    summary = combine([count(gt, pred)], ["car"]).mean.summary()
    assert [summary[key] for key in ("AssocA", "AssocRe", "AssocPr")] == pytest.approx([0.625, 0.625, 1])


def test_association_over_sequences_is_weighted_by_matches() -> None:
    # The four matches of 0.625 above and one match of 1: (4 · 0.625 + 1 · 1) / 5 = 0.7.
    gt = [Box(frame, 1, 0, OBJECT) for frame in range(4)]
    switch = count(gt, [Box(frame, 5 + (frame == 3), 0, OBJECT) for frame in range(4)])
    single = count([Box(0, 1, 0, OBJECT)], [Box(0, 5, 0, OBJECT)])
    assert combine([switch, single], ["car"]).mean.summary()["AssocA"] == pytest.approx(0.7)


def test_the_track_that_fits_overall_is_preferred() -> None:
    # Track 5 has IoU 0.8 in 4 frames, track 6 IoU 1 in the last. Shares in that frame: 0.8 / 1.8 and 1 / 1.8; alignment
    # 3.444 / (8 − 3.444) = 0.756 and 0.556 / (5 − 0.556) = 0.125; 0.756 · 0.8 > 0.125 · 1. So track 5 keeps the object
    # (AssocA 1 at α = 0.5) and track 6, local and not matched, is a localisation FP.
    gt = [Box(frame, 1, 0, OBJECT) for frame in range(4)]
    pred = [Box(3, 6, 0, OBJECT)] + [Box(frame, 5, 0, strip(8)) for frame in range(4)]
    counts = count(gt, pred)
    assert [counts.loc_tp[0, 10], counts.loc_fn[0, 10], counts.loc_fp[0, 10]] == [4, 0, 1]
    assert counts.assoc_a[0, 10] == pytest.approx(4)


def test_a_local_track_is_a_candidate_with_all_its_boxes() -> None:
    # IoU 1, 0.3 and 0 in three frames: matched at 20, 7 (α ≤ 0.3) and 1 (α = 0) thresholds. Not local in the last two
    # frames, so no localisation FP there.
    gt = [Box(frame, 1, 0, OBJECT) for frame in range(3)]
    pred = [Box(0, 5, 0, OBJECT), Box(1, 5, 0, strip(3)), Box(2, 5, 0, FAR)]
    counts = count(gt, pred)
    assert counts.loc_tp.tolist() == [[3] + [2] * 6 + [1] * 13]
    assert not counts.loc_fp.any()
    # Without the first frame the track is local nowhere and no candidate: the objects are missed.
    assert count(gt, pred[1:]).loc_fn.tolist() == [[3] * 20]


def test_a_prediction_is_local_to_one_class_only_if_an_object_holds_it() -> None:
    # A rider (class 1) of 8 × 10 on the motorcycle (class 0) of 10 × 10: IoU 0.8. The prediction of 10 × 10 belongs to
    # class 0, so class 1 is missed and has no FP.
    gt = [Box(0, 1, 0, OBJECT), Box(0, 2, 1, strip(8))]
    counts = count(gt, [Box(0, 5, 0, OBJECT)], 2)
    assert counts.loc_tp[:, 10].tolist() == [1, 0]
    assert counts.loc_fn[:, 10].tolist() == [0, 1]
    assert counts.loc_fp[:, 10].tolist() == [0, 0]
    # Of three predictions the third belongs to neither and so is local to both (IoU 0.9 and 72 / 98): FP of both.
    counts = count(gt, [Box(0, 5, 0, OBJECT), Box(0, 6, 1, strip(8)), Box(0, 7, 0, (0, 0, 10, 9))], 2)
    assert counts.loc_tp[:, 10].tolist() == [1, 1]
    assert counts.loc_fp[:, 10].tolist() == [1, 1]


def test_a_track_that_is_never_at_an_object_holds_none() -> None:
    # All 10 high: objects A 0…10 (class 0) and B 0…8 (class 1), track 5 at 0…9 (IoU 0.9 with A, 80 / 90 with B), so A
    # holds it, and B is missed without an FP. Track 6 at 6…10 has IoU 0.4 with A and 0.2 with B; if it took part, A
    # would be left to it and track 5 go to B, for 0.4 is more to gain than 0.2.
    gt = [Box(0, 1, 0, OBJECT), Box(0, 2, 1, strip(8))]
    counts = count(gt, [Box(0, 5, 0, strip(9)), Box(0, 6, 0, (6.0, 0.0, 10.0, 10.0))], 2)
    assert counts.loc_tp[:, 10].tolist() == [1, 0]


def test_boxes_that_touch_by_rounding_are_not_aligned() -> None:
    # Object in two frames. Track 6 has IoU 0.8 in the first; track 5 has 0.6 there, and in the second an overlap with
    # the object of one unit in the last place, an IoU below the rounding error. If that counted as a share of 1 of the
    # second frame, track 5 would align with (0.43 + 1) / (4 − 1.43) = 0.56 and win the first by 0.33 to 0.19.
    grazing = (float(np.nextafter(10.0, 0.0)), 0.0, 20.0, 10.0)
    pred = [Box(0, 5, 0, strip(6)), Box(1, 5, 0, grazing), Box(0, 6, 0, strip(8))]
    counts = count([Box(0, 1, 0, OBJECT), Box(1, 1, 0, OBJECT)], pred)
    assert counts.loc_tp[0, 15] == 1  # α = 0.75: it was the one of 0.8


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((110.0, 10.0, 120.0, 20.0), False),  # inside
        ((95.0, 0.0, 105.0, 10.0), True),  # half inside: not more than half
        ((94.0, 0.0, 104.0, 10.0), True),  # 0.4 in the one, and 0.4 in the other region (they overlap there)
        ((96.0, 0.0, 106.0, 10.0), False),  # 0.6 inside
        ((300.0, 0.0, 310.0, 10.0), True),  # outside
    ],
)
def test_ignore_regions(box: tuple[float, float, float, float], kept: bool) -> None:
    regions = [Box(0, 9, 0, (100.0, 0.0, 200.0, 100.0), True), Box(0, 9, 0, (100.0, -50.0, 104.0, 10.0), True)]
    gt = [Box(0, 1, 0, OBJECT), *regions]
    # What is kept is a prediction of class 0 away from its objects: one Cls FP.
    assert count(gt, [Box(0, 5, 0, OBJECT), Box(0, 6, 0, box)]).cls_fp.tolist() == [[int(kept)] * 10]
    # In another frame the regions do not apply.
    assert count(gt, [Box(0, 5, 0, OBJECT), Box(1, 6, 0, box)]).cls_fp.tolist() == [[1] * 10]
    # At an object a prediction stays wherever it is.
    assert count([*gt, Box(0, 2, 0, box)], [Box(0, 6, 0, box)]).loc_tp.tolist() == [[1] * 20]


def test_of_two_predictions_at_an_object_in_a_crowd_one_stays() -> None:
    gt = [Box(0, 1, 0, OBJECT), Box(0, 9, 0, (0.0, 0.0, 100.0, 100.0), True)]
    counts = count(gt, [Box(0, 5, 0, strip(8)), Box(0, 6, 0, strip(9))])
    assert counts.loc_tp[0, 10] == 1
    assert not counts.loc_fp[0, :19].any()  # the one of IoU 0.9 stayed; it is FP itself at 0.95


def test_low_overlaps_do_not_shield_from_a_crowd_nor_expose_to_it() -> None:
    # All 10 high: A 0…10, B 6.3…16.3, predictions P 2.5…12.5 and Q −3.8…6.2. IoU: A and P 7.5 / 12.5 = 0.6; A and Q, B
    # and P 6.2 / 13.8 = 0.45 each, more in sum, but no match. So P is matched to A and stays, Q is dropped.
    gt = [Box(0, 1, 0, OBJECT), Box(0, 2, 0, (6.3, 0, 16.3, 10)), Box(0, 9, 0, (-50.0, 0.0, 100.0, 100.0), True)]
    counts = count(gt, [Box(0, 5, 0, (2.5, 0, 12.5, 10)), Box(0, 6, 0, (-3.8, 0, 6.2, 10))])
    assert [counts.loc_tp[0, 10], counts.loc_fp[0, 10], counts.cls_fp[0, 0]] == [1, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_perfect_predictions(seed: int) -> None:
    # An object of one class throughout: where it changes, a track that is right to stay loses association precision.
    objects = [box._replace(label=box.id // 3 % 3) for box in random_video(seed, 3)[0] if not box.ignore]
    scores = combine([count(objects, objects, 3)], ["a", "b", "c"])
    assert scores.present == tuple(name for c, name in enumerate("abc") if any(box.label == c for box in objects))
    for name in scores.present:
        assert set(scores.classes[name].summary().values()) == {1.0}
    assert set(scores.mean.summary().values()) == ({1.0} if objects else {0.0})


def test_nothing_predicted() -> None:
    gt = random_video(1, 2)[0]
    counts = count(gt, [], 2)
    objects = [box.label for box in gt if not box.ignore]
    assert objects
    assert counts.loc_fn.tolist() == [[objects.count(c)] * 20 for c in range(2)]
    assert set(combine([counts], ["a", "b"]).mean.summary().values()) == {0.0}


def test_nothing_annotated() -> None:
    pred = random_video(2, 2)[1]
    counts = count([], pred, 2)
    assert counts.cls_fp.tolist() == [[sum(box.label == c for box in pred)] * 10 for c in range(2)]
    scores = combine([counts], ["a", "b"])
    assert scores.present == ()
    assert set(scores.mean.summary().values()) == {0.0}
    assert not any(getattr(count([], [], 2), name).any() for name in COUNTS)
    assert set(combine([], ["a", "b"]).mean.summary().values()) == {0.0}


@pytest.mark.parametrize("seed", range(12))
def test_names_and_order_mean_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gt, pred = random_video(seed, 3)
    expected = count(gt, pred, 3)
    other = rng.permutation(1000)
    renamed = [box._replace(frame=box.frame + 7, id=int(other[box.id])) for box in gt]
    renumbered = [box._replace(frame=box.frame + 7, id=10**12 - box.id) for box in pred]
    again = count(renamed, renumbered, 3)
    shuffled = count([gt[n] for n in rng.permutation(len(gt))], [pred[n] for n in rng.permutation(len(pred))], 3)
    for name in COUNTS:
        # The alignment of permuted ids is summed in another order.
        np.testing.assert_allclose(getattr(again, name), getattr(expected, name), rtol=1e-12, err_msg=name)
        # At α = 0 boxes that do not touch are matched too, and which ones depends on their order.
        first = 0 if "cls" in name or name == "loc_tp" else 1
        np.testing.assert_allclose(
            getattr(shuffled, name)[:, first:], getattr(expected, name)[:, first:], rtol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_classes_matters_to_the_restart_only(seed: int) -> None:
    gt, pred = random_video(seed, 3)
    new = [2, 0, 1, -1]
    moved = [[box._replace(label=new[box.label]) for box in boxes] for boxes in (gt, pred)]
    expected, counts = count(gt, pred, 3), count(*moved, 3)
    for name in COUNTS:
        if name != "cls_fp":
            np.testing.assert_allclose(getattr(counts, name)[new[:3]], getattr(expected, name), err_msg=name)


def test_wrong_arguments() -> None:
    boxes = [Box(0, 1, 0, OBJECT)]
    with pytest.raises(ValueError, match="labels of pred"):
        count(boxes, [Box(0, 1, 2, OBJECT)], 2)
    with pytest.raises(ValueError, match="labels of gt"):
        count([Box(0, 1, -1, OBJECT)], boxes, 2)
    with pytest.raises(ValueError, match="ignored"):
        count(boxes, [Box(0, 1, 0, OBJECT, True)])
    with pytest.raises(ValueError, match="repeated in frame 0"):
        count(boxes, boxes * 2)
    with pytest.raises(ValueError, match="not finite"):
        count(boxes, [Box(0, 1, 0, (0, 0, float("nan"), 1))])
    with pytest.raises(ValueError, match="ascending"):
        table([Box(0, 1, 0, OBJECT), Box(1, 1, 0, OBJECT)])[np.array([1, 0])]
    with pytest.raises(ValueError, match="shape"):
        VideoBoxes(*(np.zeros(2, np.int64) for _ in range(3)), np.zeros((2, 3)), np.zeros(2, np.bool_))
    with pytest.raises(ValueError, match="1 classes, but 2 names"):
        combine([count(boxes, boxes)], ["car", "bus"])


needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the BDD100K sequence is not here (MEMOTR_TEST_DATA)")


@needs_real
def test_real_sequence() -> None:
    scores = evaluate_teta(REAL / "track_sample_anns.json", REAL / "track_predictions.json")
    assert scores.present == ("pedestrian", "rider", "car", "bus", "truck", "motorcycle")
    # What the metric authors' algorithm gives for these files.
    assert scores.mean.summary() == pytest.approx(
        {
            "TETA": 0.429589823011,
            "LocA": 0.402833151878,
            "LocRe": 0.419335422925,
            "LocPr": 0.672660501319,
            "AssocA": 0.376882611182,
            "AssocRe": 0.399114398413,
            "AssocPr": 0.642958767925,
            "ClsA": 0.509053705974,
            "ClsRe": 0.692986374132,
            "ClsPr": 0.579115928634,
        },
        abs=1e-11,
    )
    assert scores.classes["car"].summary()["TETA"] == pytest.approx(0.753051593129, abs=1e-11)


@needs_real
def test_real_sequence_agrees_with_its_published_clear_metrics() -> None:
    # 3109 objects, of which CLEAR matches 2167 (FN 942) within their class at IoU 0.5 and finds 126 FP.
    (counts,) = teta_by_video(REAL / "track_sample_anns.json", REAL / "track_predictions.json").values()
    at_half = 10
    assert (counts.loc_tp + counts.loc_fn)[:, at_half].sum() == 3109
    # Whatever their class more are found, and of the right class nearly as many.
    assert 2167 <= counts.loc_tp[:, at_half].sum() <= 1.03 * 2167
    assert counts.cls_tp[:, 0].sum() == pytest.approx(2167, rel=0.01)
    # Fewer localisation FP: a prediction away from all objects is none, but is one of classification.
    assert counts.loc_fp[:, at_half].sum() < 126 < counts.cls_fp[:, 0].sum()


@needs_real
def test_real_sequence_against_itself() -> None:
    labels = REAL / "track_sample_anns.json"
    perfect = evaluate_teta(labels, labels).mean.summary()
    # Its crowds are predictions here, all of them in an ignore region: themselves.
    assert set(perfect.values()) == {1.0}


def test_an_overlap_of_one_half_holds_an_object() -> None:
    """The prediction belongs to the first object, so it is no local prediction of the second one's class."""
    place = (0.0, 0.0, 10.0, 20.0)
    counts = count([Box(0, 1, 0, place), Box(0, 2, 1, place)], [Box(0, 7, 0, (0.0, 0.0, 10.0, 10.0))], num_classes=2)
    assert counts.loc_tp.tolist() == [[1] * 11 + [0] * 9, [0] * 20]
    assert counts.loc_fp.tolist() == [[0] * 11 + [1] * 9, [0] * 20]


def test_the_last_pixel_belongs_to_a_box() -> None:
    boxes = table([Box(0, 1, 0, (5.0, 7.0, 14.0, 26.5)), Box(0, 2, 0, (3.0, 3.0, 3.0, 3.0))])
    assert with_last_pixels(boxes).boxes.tolist() == [[5, 7, 15, 27.5], [3, 3, 4, 4]]
