import math

import pytest
import torch

from memotr.build import build_model
from memotr.config import load_config
from memotr.models.backbone import project_features
from memotr.models.inference import for_inference
from memotr.models.levels import lay_out, level_shapes, sine_positions, valid_ratio
from memotr.structures import ImageBatch
from tests.builders import random_images, tiny_model


def slow_position(count, last, features, temperature):
    """Features of one pixel that is the ``count``-th of ``last`` valid ones along an axis."""
    angle = (count - 0.5) / (last + 1e-6) * 2 * math.pi
    values = []
    for i in range(features):
        scaled = angle / temperature ** (2 * (i // 2) / features)
        values.append(math.sin(scaled) if i % 2 == 0 else math.cos(scaled))
    return values


def padded_mask():
    mask = torch.ones(2, 8, 12, dtype=torch.bool)
    mask[0, :6, :10] = False
    mask[1, :8, :7] = False
    return mask


def test_positions_equal_the_slow_version():
    positions = sine_positions(padded_mask(), dim=16, temperature=20)
    for b, (height, width) in enumerate([(6, 10), (8, 7)]):
        for y, x in [(0, 0), (3, 5), (height - 1, width - 1)]:
            expected = slow_position(y + 1, height, 8, 20) + slow_position(x + 1, width, 8, 20)
            torch.testing.assert_close(positions[b, y, x], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_valid_ratio():
    torch.testing.assert_close(valid_ratio(padded_mask()), torch.tensor([[10 / 12, 6 / 8], [7 / 12, 1.0]]))


def test_reference_points_are_pixel_centres_of_the_unpadded_image():
    images = ImageBatch(torch.zeros(2, 3, 8, 12), padded_mask())
    levels = lay_out(images, ((8, 12), (4, 6)), torch.zeros(2, 8), 20)
    points = levels.centres
    assert points.shape == (2, 120, 2, 2)  # 120 = 96 + 24
    x, y = 3, 2  # a pixel of the first level, seen from both levels
    own = torch.tensor([(x + 0.5) / 10, (y + 0.5) / 6])
    for level in range(2):
        torch.testing.assert_close(points[0, y * 12 + x, level], own * levels.valid_ratios[0, level])


def test_layouts_follow_the_sizes_of_the_images():
    """One that is remembered is that of images of the same sizes, in the same padding."""
    network = for_inference(tiny_model())
    for sizes in ([(60, 90)], [(64, 96)], [(64, 96)], [(60, 90)], [(64, 90), (50, 96)]):
        images = random_images(sizes)
        shapes = ((8, 12), (4, 6), (2, 3))
        found = network._lay_out(images, shapes)
        wanted = lay_out(images, shapes, network.transformer.level_embed, 20)
        for name in ("positions", "valid_ratios", "centres"):
            assert getattr(found, name).equal(getattr(wanted, name)), (sizes, name)
        assert (found.mask is None) == (sizes == [(64, 96)])
        assert found.mask is None or found.mask.equal(wanted.mask)


def test_images_without_padding_need_no_mask():
    """What is not blanked out is the same as what has nothing to be blanked out."""
    network = tiny_model()
    images = random_images([(64, 96)])
    with torch.no_grad():
        found = network(images, [network.no_tracks()])
        wanted = network(ImageBatch(images.pixels, images.mask), [network.no_tracks()])
    assert found.boxes.equal(wanted.boxes)
    assert found.logits.equal(wanted.logits)


@pytest.mark.parametrize("num_levels", [2, 3, 4, 5])
def test_shapes_are_those_of_the_maps(num_levels):
    config = load_config("tiny", [f"model.num_levels={num_levels}", "model.backbone.width=8", "model.hidden_dim=32"])
    model = build_model(config).eval()
    pixels = torch.zeros(1, 3, 96, 160)
    maps = project_features(model.feature_projs, model.backbone(pixels))
    assert level_shapes(96, 160, (8, 16, 32), num_levels) == tuple((m.shape[2], m.shape[3]) for m in maps)
