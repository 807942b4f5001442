import pytest

from memotr.bench.options import Options
from memotr.bench.roofline import Ceilings, Work, attention_work, frame_work
from memotr.config import load_config


def test_an_encoder_layer_by_hand():
    pixels = 23_924  # of 800×1422, padded to 800×1440
    work = attention_work(pixels, pixels, heads=8, points=16, dim=256, item_size=2)
    assert pixels * 8 * 16 == 3_062_272  # points
    assert work.operations == 3_062_272 * 32 * 8  # four multiplications and additions for each channel of a head
    assert work.bytes == 2 * pixels * 256 * 2 + 3_062_272 * 12


@pytest.mark.slow
def test_a_frame_of_the_published_network_takes_600_gflop():
    parts = frame_work(Options(load_config("dancetrack")), (800, 1422), item_size=4)
    assert sum(part.operations for part in parts.values()) == pytest.approx(600e9, rel=0.02)


def test_products_are_counted_by_part():
    options = Options(load_config("tiny"), crowd=3)
    parts = frame_work(options, (64, 96), item_size=4)
    half = frame_work(options, (64, 96), item_size=2)
    c, pixels, queries = options.config.model, 8 * 12 + 4 * 6 + 2 * 3, 103
    points = c.num_heads * c.num_levels * c.num_encoder_points
    linear = 2 * pixels * c.hidden_dim * (2 * c.hidden_dim + 3 * points + 2 * c.ffn_dim)
    assert parts["encoder"].operations == linear * c.num_encoder_layers
    assert parts["encoder"].bytes == 2 * half["encoder"].bytes
    assert parts["decoder, sampling"].operations == (100 + 2 * queries) * c.num_heads * 12 * 8 * 16
    assert min(part.operations for part in parts.values()) > 0


def test_the_lower_bound_is_the_longer_of_the_two_times():
    ceilings = Ceilings({"32": 100.0}, bandwidth=10.0)
    assert ceilings.lower_bound(Work(200, 10), "32") == 2.0
    assert ceilings.lower_bound(Work(200, 50), "32") == 5.0
