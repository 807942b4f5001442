import torch

from memotr.models.deformable_attention import DeformableAttention


def test_sampling_points_begin_as_a_star():
    """Eight directions to the border of a square, the points one to three pixels away, alike in all levels."""
    offsets = DeformableAttention(32, num_levels=2, num_heads=8, num_points=3).sampling_offsets
    star = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    expected = [[[(x * p, y * p) for p in (1, 2, 3)]] * 2 for x, y in star]
    torch.testing.assert_close(offsets.bias.view(8, 2, 3, 2), torch.tensor(expected, dtype=torch.float32))
    assert not offsets.weight.any()
