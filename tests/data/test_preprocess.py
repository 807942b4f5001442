import cv2
import numpy as np
import pytest
import torch

from memotr.data.preprocess import MEAN, STD, preprocess, preprocess_on, target_size


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1080, 1920, (800, 1422)),
        (720, 1280, (800, 1422)),
        (480, 640, (800, 1066)),
        (200, 900, (341, 1536)),
        (900, 200, (1536, 341)),
    ],
)
def test_target_size_truncates(height, width, expected):
    assert target_size(height, width, 800, 1536) == expected


def test_extreme_sizes_keep_a_pixel():
    assert target_size(1, 4000, 800, 1536) == (1, 1536)


def test_pixels_are_normalised_rgb():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    pixels = preprocess(image, 80, 120)
    resized = cv2.resize(image, (120, 80)).astype(np.float64) / 255
    expected = (resized - np.array(MEAN)) / np.array(STD)
    torch.testing.assert_close(pixels, torch.from_numpy(expected).permute(2, 0, 1).float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(40, 60), (41, 67), (100, 60)], ids=["as it is", "larger", "smaller"])
def test_a_device_gives_pixels_less_than_a_step_away(size):
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8), (5, 5), 0)
    exact = preprocess(image, 40, 100)
    found = preprocess_on(torch.device("cpu"), image, 40, 100)
    assert found.shape == exact.shape
    steps = (found - exact).abs() * 255 * torch.tensor(STD)[:, None, None]
    assert steps.max() < 1.01
    assert steps.mean() < 0.2
