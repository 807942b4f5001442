import pytest
import torch

from memotr.structures import Assignment
from memotr.tracking.lifecycle import advance
from tests.builders import random_output, random_tracks


def choose(tracks, keep, births, fresh):
    births = torch.tensor(births, dtype=torch.int64)
    keep, fresh = (torch.tensor(x, dtype=torch.bool) for x in (keep, fresh))
    return Assignment(
        track_ids=torch.where(keep, tracks.ids, -1),
        track_keep=keep,
        disappear_time=torch.arange(len(tracks)),
        births=births,
        birth_ids=births + 100,
        birth_labels=torch.zeros_like(births),
        birth_from_initial=fresh,
    )


@pytest.mark.parametrize("parts", [1, 2])
def test_tracks_continue_end_and_start(parts):
    tracks, output = random_tracks(3, parts=parts), random_output(6, 3, parts=parts)
    after = advance(tracks, output, choose(tracks, [True, False, True], [4, 1], [False, True]))
    assert after.ids.tolist() == [0, 2, 104, 101]
    assert after.disappear_time.tolist() == [0, 2, 0, 0]
    # those that stay: new predictions, old memory and query
    assert after.boxes[:2].equal(output.boxes[[6, 8]])
    assert after.output_embed[:2].equal(output.output_embed[[6, 8]])
    for name in ("query_embed", "ref_pts", "long_memory", "last_output", "labels"):
        assert getattr(after, name)[:2].equal(getattr(tracks, name)[[0, 2]])
    # the newborn: everything from their detection query
    assert after.boxes[2:].equal(output.boxes[[4, 1]])
    assert after.query_embed[2:].equal(output.query_embed[[4, 1]])
    assert after.last_output[2:].equal(output.output_embed[[4, 1]])
    assert after.long_memory[2:].equal(output.query_embed[[4, 1], -64:])
    assert after.ref_pts[2].equal(output.ref_pts[4])
    assert after.ref_pts[3].equal(output.init_ref_pts[1])


def test_nothing_at_all():
    tracks, output = random_tracks(0), random_output(6, 0)
    assert len(advance(tracks, output, choose(tracks, [], [], []))) == 0
