import pytest
import torch

from memotr.boxes import inverse_sigmoid
from tests.builders import random_tracks, tiny_model


def some_tracks(parts):
    logits = torch.tensor([[3.0], [-3.0], [1.0], [0.0], [0.1]])  # 0 is a score of exactly the threshold
    return random_tracks(5, parts=parts).replace(logits=logits)


@pytest.fixture(params=["dab", "deformable-detr"])
def variant(request):
    return request.param


def test_only_confident_tracks_are_renewed(variant):
    model = tiny_model(variant)
    tracks = some_tracks(model.queries.parts)
    after = model.memory(tracks)
    confident = torch.tensor([True, False, True, False, True])
    for name in ("ref_pts", "query_embed", "long_memory", "last_output"):
        old, new = getattr(tracks, name), getattr(after, name)
        assert new[~confident].equal(old[~confident])
        assert (new[confident] != old[confident]).any(dim=1).all()
    torch.testing.assert_close(after.ref_pts[confident], inverse_sigmoid(tracks.boxes[confident]))
    assert after.last_output[confident].equal(tracks.output_embed[confident])
    mixed = 0.99 * tracks.long_memory + 0.01 * tracks.output_embed
    torch.testing.assert_close(after.long_memory[confident], mixed[confident])


def test_tracks_attend_to_each_other(variant):
    model = tiny_model(variant)
    tracks = some_tracks(model.queries.parts)
    together, alone = model.memory(tracks), model.memory(tracks[:1])
    assert not torch.allclose(together.query_embed[0], alone.query_embed[0])


def test_no_gradient_through_the_long_memory(variant):
    model = tiny_model(variant)
    tracks = some_tracks(model.queries.parts)
    memory, output = tracks.long_memory.requires_grad_(), tracks.output_embed.requires_grad_()
    after = model.memory(tracks)
    confident = tracks.scores[:, 0] > 0.5
    (after.query_embed[confident].sum() + after.long_memory[confident].sum()).backward()
    assert memory.grad.abs().max() == 0
    assert output.grad.abs().sum() > 0


def test_no_tracks(variant):
    model = tiny_model(variant)
    assert len(model.memory(model.no_tracks())) == 0


@pytest.mark.parametrize("used", [True, False])
def test_the_long_memory_may_be_left_out(variant, used):
    model = tiny_model(variant, use_long_memory=used)
    tracks = some_tracks(model.queries.parts)
    before = model.memory(tracks).query_embed
    assert model.memory(tracks.replace(long_memory=tracks.long_memory + 1)).query_embed.equal(before) is not used
    assert not model.memory(tracks.replace(last_output=tracks.last_output + 1)).query_embed.equal(before)
