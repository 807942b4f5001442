"""The linear motion model against a list of boxes a track, as one would write it first."""

import pytest
import torch

from memotr.structures import Assignment
from memotr.tracking.lifecycle import advance, extrapolate
from tests.builders import random_output, random_tracks

MIN_LENGTH, MAX_LENGTH, WEIGHT = 3, 5, 0.5


def step(tracks, output, missed):
    n = len(tracks)
    births = torch.arange(2) if n == 0 else torch.zeros(0, dtype=torch.int64)
    choice = Assignment(
        track_ids=tracks.ids,
        track_keep=torch.ones(n, dtype=torch.bool),
        disappear_time=torch.tensor(missed[:n], dtype=torch.int64),
        births=births,
        birth_ids=births,
        birth_labels=torch.zeros_like(births),
        birth_from_initial=torch.zeros(len(births), dtype=torch.bool),
    )
    return advance(tracks, output, choice)


def test_unseen_tracks_move_on():
    seen = [[True] * 7 + [False] * 2 + [True] * 2 + [False], [True, False] + [True] * 4 + [False] * 6]
    tracks = random_tracks(0, history=MAX_LENGTH)
    records, missed, moved = [[], []], [0, 0], 0
    for t in range(12):
        output = random_output(4, len(tracks), seed=t)
        output.boxes.mul_(0.2).add_(0.4)
        boxes = output.boxes[:2] if t == 0 else output.boxes[4:]
        for i in range(2):
            if seen[i][t]:
                kept = [] if missed[i] else records[i]
                records[i] = [*kept[-(MAX_LENGTH - 1) :], boxes[i]]
                missed[i] = 0
            else:
                missed[i] += 1
        tracks = step(tracks, output, missed)
        after = extrapolate(tracks, MIN_LENGTH, WEIGHT)
        for i in range(2):
            expected = tracks.ref_pts[i]
            if missed[i] and len(records[i]) >= MIN_LENGTH:
                steps = [b - a for a, b in zip(records[i], records[i][1:], strict=False)]
                box = records[i][-1] + WEIGHT * missed[i] * sum(steps) / len(steps)
                expected = torch.logit(box)
                moved += 1
            torch.testing.assert_close(after.ref_pts[i], expected)
    assert moved > 5


def test_history_costs_nothing_when_off():
    tracks = step(random_tracks(0), random_output(4, 0), [])
    assert tracks.seen_boxes.shape == (2, 0, 4)


@pytest.mark.parametrize("seen", range(1, MAX_LENGTH + 1))
def test_a_track_moves_on_once_it_was_seen_often_enough(seen):
    tracks = random_tracks(1, history=MAX_LENGTH).replace(disappear_time=torch.tensor([1]))
    tracks.seen_boxes[:, MAX_LENGTH - seen :] = torch.linspace(0.3, 0.5, seen)[None, :, None]
    moved = extrapolate(tracks, MIN_LENGTH, WEIGHT)
    assert moved.ref_pts.equal(tracks.ref_pts) == (seen < MIN_LENGTH)
