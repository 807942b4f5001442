from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from memotr.data.preprocess import MEAN, STD, _resize, preprocess, preprocess_on, target_size


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


def frame_and_sides() -> Iterator[tuple[NDArray[np.uint8], int, int]]:
    """Yield noise to resize up and down, from and to odd and even sides, and sides of a pixel."""
    random = np.random.default_rng(0)
    chosen = [(40, 60, 40, 60), (80, 120, 40, 60), (81, 120, 40, 60), (40, 60, 80, 120), (1, 1, 40, 60)]
    chosen += [(1, 77, 40, 100), (77, 1, 40, 100), (50, 70, 1, 100), (540, 960, 400, 768), (270, 480, 400, 768)]
    for height, width, short, long in [*chosen, *random.integers(1, 150, (120, 4)).tolist()]:
        yield random.integers(0, 256, (height, width, 3), dtype=np.uint8), short, long


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_a_device_gives_the_same_pixels_in_every_bit(device):
    for image, short, long in frame_and_sides():
        wanted, found = preprocess(image, short, long), preprocess_on(torch.device(device), image, short, long)
        assert found.device.type == device
        assert torch.equal(found.cpu(), wanted), (image.shape, short, long)


@pytest.mark.parametrize("sides", [(64, 96), (48, 80)])
def test_frames_may_be_read_only(sides, monkeypatch):
    """Such as those of Pillow. PyTorch would warn of them, and only once in a process."""
    monkeypatch.setattr(torch, "from_numpy", lambda array, real=torch.from_numpy: array.flags.writeable and real(array))
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    wanted = preprocess(image, *sides)
    image.flags.writeable = False
    assert torch.equal(preprocess(image, *sides), wanted)
    assert torch.equal(preprocess_on(torch.device("cpu"), image, *sides), wanted)


def test_resizing_in_integers_equals_opencvs():
    """Free of the kept aspect ratio: each side for itself up, down, halved, to a pixel."""
    random = np.random.default_rng(1)
    sizes = random.integers(1, 120, (150, 4)).tolist()
    sizes += [(2 * h, 2 * w, h, w) for h, w, _, _ in sizes[:10]] + [(2 * h, w, h, w) for h, w, _, _ in sizes[:10]]
    for height, width, new_height, new_width in sizes:
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = _resize(torch.from_numpy(image), (new_height, new_width))
        assert np.array_equal(found.numpy(), cv2.resize(image, (new_width, new_height))), (image.shape, found.shape)
