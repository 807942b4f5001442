"""Boxes and image move together: rectangles are drawn, transformed and found again among the pixels."""

import colorsys
import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from memotr.config import AugmentationConfig
from memotr.data.sequences import FrameBoxes
from memotr.data.transforms import (
    ClipAugmentation,
    Crop,
    Flip,
    Recolor,
    Resize,
    Shift,
    make_targets,
)

HEIGHT, WIDTH = 180, 300
COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255)], np.uint8)
BOXES = [
    (0, 0, 40, 30),
    (250, 10, 300, 60),
    (20, 110, 60, 180),
    (235, 125, 285, 170),
    (110, 20, 190, 70),
    (90, 90, 210, 150),
]
SMALL = AugmentationConfig(
    short_sides=(90, 120, 200),
    longest_side=260,
    crop_short_sides=(150, 200),
    crop_min_size=80,
    crop_max_size=160,
    hsv=(0, 0, 0),
)


def painted(boxes=BOXES, size=(HEIGHT, WIDTH)):
    """A frame with a rectangle of its own colour for each box; the id is 10 + the colour, the label 20 + it."""
    image = np.zeros((*size, 3), np.uint8)
    for color, (x1, y1, x2, y2) in zip(COLORS, boxes, strict=False):
        image[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = color
    number = np.arange(len(boxes))
    return image, FrameBoxes(10 + number, 20 + number, np.array(boxes, np.float32).reshape(-1, 4))


def found(image):
    """Where each colour is: xyxy of its pixels, to about half a pixel; colours that are not there are missing."""
    lit = image > 127
    places = {}
    for number, color in enumerate(COLORS > 127):
        ys, xs = np.nonzero((lit == color).all(axis=2))
        if len(xs):
            places[number] = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return places


def assert_boxes_follow(image, truth, margin=4):
    """Every box lies where its colour is seen, and every colour seen that is more than a sliver has its box.

    Boxes are compared as far as they lie in the image. Neighbours of a thin remainder mix with it: those less than
    ``margin`` pixels thick are not looked for.
    """
    height, width = image.shape[:2]
    places = found(image)
    numbers = (truth.ids - 10).tolist()
    np.testing.assert_array_equal(truth.labels, truth.ids + 10)
    visible = np.clip(truth.boxes, 0, [width, height, width, height])
    for number, box in zip(numbers, visible, strict=True):
        assert (box[2:] > box[:2]).all()
        if (box[2:] - box[:2]).min() > margin:
            np.testing.assert_allclose(places[number], box, atol=1.5)
    for number, place in places.items():
        if (place[2:] - place[:2]).min() > margin:
            assert number in numbers


@pytest.mark.parametrize(
    "step",
    [
        Flip(),
        Resize(90, 150),
        Resize(400, 500),
        Resize(181, 299),
        Crop(15, 20, 200, 120),
        Crop(15, 20, 200, 120, overflow=True),
        Crop(0, 0, WIDTH, HEIGHT),
        Shift(25, -14),
        Shift(-50, 50),
        Recolor(0, -20, 20),
    ],
    ids=repr,
)
def test_boxes_move_with_the_pixels(step):
    image, truth = step.apply(*painted())
    assert image.dtype == np.uint8
    assert_boxes_follow(image, truth)
    assert len(truth) == len(found(image))


@pytest.mark.parametrize("overflow", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_boxes_move_with_the_pixels_in_any_draw(seed, overflow):
    augmentation = ClipAugmentation(SMALL.model_copy(update={"overflow_boxes": overflow}))
    draw = augmentation.draw(np.random.default_rng(seed), (HEIGHT, WIDTH))
    image, truth = draw.apply(*painted())
    assert_boxes_follow(image, truth)


def test_transforms_do_not_change_their_input():
    image, truth = painted()
    before = image.copy(), truth.boxes.copy()
    steps = [Flip(), Resize(90, 150), Crop(15, 20, 200, 120), Recolor(3, 10, -10), Shift(9, 9)]
    for step in steps:
        step.apply(image, truth)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(truth.boxes, before[1])


def detr_size(height, width, size, max_size=None):
    """The rule in the words of DETR, in floating point."""
    low, high = float(min(height, width)), float(max(height, width))
    if max_size is not None and high / low * size > max_size:
        size = math.floor(max_size * low / high)
    return (size, size * width / height) if height <= width else (size * height / width, size)


@pytest.mark.parametrize(
    ("height", "width"), [(1080, 1920), (1920, 1080), (720, 1280), (480, 640), (333, 333), (257, 1023)]
)
@pytest.mark.parametrize("limit", [None, 1536, 1333])
def test_resize_rule(height, width, limit):
    for size in (*range(608, 993, 32), *range(480, 801, 32), 400, 500, 600, 1000, 1200):
        resize = Resize.to_short_side((height, width), size, limit)
        expected = detr_size(height, width, size, limit)
        assert abs(resize.height - expected[0]) < 1
        assert abs(resize.width - expected[1]) < 1
        assert min(resize.height, resize.width) == min(expected)
        assert limit is None or max(resize.height, resize.width) <= limit


def test_resize_of_a_known_frame():
    assert Resize.to_short_side((1080, 1920), 800, 1536) == Resize(800, 1422)
    assert Resize.to_short_side((1080, 1920), 992, 1536) == Resize(864, 1536)
    assert Resize.to_short_side((1, 4000), 608, 1536) == Resize(1, 1536)


def bilinear(image, height, width):
    """Bilinear interpolation between pixel centres, one pixel after the other; the border repeats."""
    h, w = image.shape[:2]
    result = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * h / height - 0.5, 0), h - 1)
            u = min(max((x + 0.5) * w / width - 0.5, 0), w - 1)
            y0, x0 = int(v), int(u)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            top = image[y0, x0] * (1 - (u - x0)) + image[y0, x1] * (u - x0)
            bottom = image[y1, x0] * (1 - (u - x0)) + image[y1, x1] * (u - x0)
            result[y, x] = top * (1 - (v - y0)) + bottom * (v - y0)
    return result


def test_pixels_of_resize_crop_and_flip():
    image = np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8)
    nothing = FrameBoxes.empty()
    for height, width in ((40, 50), (11, 20), (23, 30)):
        resized, _ = Resize(height, width).apply(image, nothing)
        np.testing.assert_allclose(resized, bilinear(image.astype(float), height, width), atol=1)
    cut, _ = Crop(5, 3, 20, 11).apply(image, nothing)
    assert cut.tolist() == [[image[y + 3, x + 5].tolist() for x in range(20)] for y in range(11)]
    mirrored, _ = Flip().apply(image, nothing)
    assert mirrored.tolist() == [[image[y, 36 - x].tolist() for x in range(37)] for y in range(23)]


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        (False, {1: (0, 0, 60, 40), 2: (80, 60, 100, 80), 3: (0, 0, 100, 80), 6: (0, 20, 1, 30)}),
        (True, {1: (-10, -20, 60, 40), 2: (80, 60, 150, 90), 3: (-50, -50, 150, 150), 6: (-5, 20, 1, 30)}),
    ],
)
def test_boxes_after_a_crop(overflow, expected):
    boxes = np.array(
        [
            (-40, 10, 50, 30),  # 0: ends exactly where the crop begins
            (40, 10, 110, 70),  # 1: reaches out at the upper left
            (130, 90, 200, 120),  # 2: reaches out at the lower right
            (0, -20, 200, 180),  # 3: contains the crop
            (150, 30, 170, 60),  # 4: begins where it ends
            (70, 110, 90, 130),  # 5: below it
            (45, 50, 51, 60),  # 6: one pixel inside
        ],
        np.float32,
    )
    image = np.zeros((200, 250, 3), np.uint8)
    number = np.arange(len(boxes))
    _, truth = Crop(50, 30, 100, 80, overflow).apply(image, FrameBoxes(number, number % 3, boxes))
    assert {i: tuple(box) for i, box in zip(truth.ids.tolist(), truth.boxes.tolist(), strict=True)} == expected
    np.testing.assert_array_equal(truth.labels, truth.ids % 3)


def crops(config, size, draws=400):
    """(image that is cropped, crop) of many draws."""
    augmentation, rng = ClipAugmentation(config), np.random.default_rng(1)
    drawn = [augmentation.draw(rng, size).steps for _ in range(draws)]
    return [(steps[i - 1], step) for steps in drawn for i, step in enumerate(steps) if isinstance(step, Crop)]


def test_crop_sizes_and_places():
    config = AugmentationConfig(crop=1, flip=0, crop_short_sides=(20, 30), crop_min_size=16, crop_max_size=24)
    pairs = crops(config, (60, 90), draws=3000)
    assert len(pairs) == 3000
    assert {image for image, _ in pairs} == {Resize(20, 30), Resize(30, 45)}
    for image, crop in pairs:
        assert 0 <= crop.left <= image.width - crop.width
        assert 0 <= crop.top <= image.height - crop.height
        assert not crop.overflow
    larger = [crop for image, crop in pairs if image.height == 30]
    for side in ("width", "height"):  # each of the nine sizes equally often
        counts = np.bincount([getattr(crop, side) for crop in larger])[16:]
        assert len(counts) == 9
        assert abs(counts - len(larger) / 9).max() < 5 * math.sqrt(len(larger) / 9)
    assert {crop.height for image, crop in pairs if image.height == 20} == set(range(16, 21))
    assert {crop.left for crop in larger if crop.width == 24} == set(range(45 - 24 + 1))


def test_an_image_smaller_than_the_crop_stays_whole():
    config = AugmentationConfig(crop=1, crop_short_sides=(20,), crop_min_size=25, crop_max_size=40)
    for image, crop in crops(config, (60, 240), draws=50):
        assert image == Resize(20, 80)
        assert (crop.top, crop.height) == (0, 20)
        assert 25 <= crop.width <= 40


def test_order_and_sizes_of_the_steps():
    config = SMALL.model_copy(update={"flip": 1.0, "crop": 1.0, "hsv": (5, 30, 30), "overflow_boxes": True})
    firsts = set()
    for seed in range(20):
        steps = ClipAugmentation(config).draw(np.random.default_rng(seed), (HEIGHT, WIDTH)).steps
        assert [type(step) for step in steps] == [Flip, Resize, Crop, Resize, Recolor]
        _, first, crop, second, _ = steps
        firsts.add(first)
        assert crop.overflow
        assert second in [Resize.to_short_side((crop.height, crop.width), side, 260) for side in config.short_sides]
    assert firsts == {Resize(150, 250), Resize(200, 333)}  # no limit to the long side here
    plain = ClipAugmentation(config.model_copy(update={"flip": 0, "crop": 0})).draw(
        np.random.default_rng(0), (180, 300)
    )
    assert [type(step) for step in plain.steps] == [Resize, Recolor]


def slow_recolor(image, hue, saturation, value):
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(int)
    for pixel in hsv.reshape(-1, 3):
        pixel[0] = (pixel[0] + hue) % 180
        pixel[1] = min(max(pixel[1] + saturation, 0), 255)
        pixel[2] = min(max(pixel[2] + value, 0), 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


@pytest.mark.parametrize(
    "shift", [(5, 0, 0), (-5, 0, 0), (0, 30, 0), (0, -30, 0), (0, 0, 30), (0, 0, -30), (-3, 17, -22)]
)
def test_recolor(shift):
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    result, _ = Recolor(*shift).apply(image, FrameBoxes.empty())
    np.testing.assert_array_equal(result, slow_recolor(image, *shift))


def test_recolor_against_another_colour_space():
    """The standard library's HSV: hue in turns. OpenCV's eight bits of saturation and two degrees of hue are coarse."""
    for color in ([200, 90, 60], [60, 200, 90], [90, 60, 200], [250, 20, 20]):
        result, _ = Recolor(5, -20, -30).apply(np.full((1, 1, 3), color, np.uint8), FrameBoxes.empty())
        h, s, v = colorsys.rgb_to_hsv(*(np.array(color) / 255))
        expected = np.array(colorsys.hsv_to_rgb((h + 10 / 360) % 1, s - 20 / 255, v - 30 / 255)) * 255
        np.testing.assert_allclose(result[0, 0], expected, atol=4)


def test_no_recolor_changes_no_pixel():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert Recolor(0, 0, 0).apply(image, FrameBoxes.empty())[0] is image


def test_how_often_things_happen():
    n = 4000
    augmentation, rng = ClipAugmentation(AugmentationConfig(reverse=0.25)), np.random.default_rng(0)
    draws = [augmentation.draw(rng, (1080, 1920)) for _ in range(n)]
    stills = [augmentation.draw(rng, (1080, 1920), still=True) for _ in range(n)]

    def assert_share(events, expected):
        assert abs(sum(events) / n - expected) < 4 * math.sqrt(expected * (1 - expected) / n)

    assert_share([any(isinstance(step, Flip) for step in draw.steps) for draw in draws], 0.5)
    assert_share([any(isinstance(step, Crop) for step in draw.steps) for draw in draws], 0.5)
    assert_share([draw.reverse for draw in draws], 0.25)
    assert_share([draw.reverse for draw in stills], 0.5)
    colors = np.array([(c.hue, c.saturation, c.value) for c in (draw.steps[-1] for draw in draws)])
    assert (abs(colors) <= (5, 30, 30)).all()
    assert (abs(colors).max(axis=0) >= (4, 29, 29)).all()
    assert_share(colors[:, 1] != 0, 0.5 * 29 / 30)  # when on, shifts below one step are none
    assert_share((colors[:, 1] != 0) & (colors[:, 2] != 0), (0.5 * 29 / 30) ** 2)  # on and off by themselves
    sides = [draw.steps[-2].height for draw in draws if not any(isinstance(step, Crop) for step in draw.steps)]
    # 864 is what becomes of 864 and all above, because of the longest side.
    assert set(sides) == set(range(608, 865, 32))


def test_the_same_seed_gives_the_same_draw():
    augmentation = ClipAugmentation(AugmentationConfig())
    first, again, other = (augmentation.draw(np.random.default_rng(seed), (1080, 1920)) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    shifts = [augmentation.draw_shift(np.random.default_rng(seed), (1080, 1920)) for seed in (3, 3, 4)]
    assert shifts[0] == shifts[1] != shifts[2]


def test_one_draw_moves_all_frames_alike():
    draw = ClipAugmentation(SMALL.model_copy(update={"crop": 1.0})).draw(np.random.default_rng(5), (HEIGHT, WIDTH))
    still = (100, 80, 140, 120)
    frames = [draw.apply(*painted([still, (20 * t, 20, 20 * t + 60, 70)])) for t in range(5)]
    assert len({image.shape for image, _ in frames}) == 1
    boxes = [truth.boxes[truth.ids.tolist().index(10)].tolist() for _, truth in frames]
    assert boxes == [boxes[0]] * 5
    for image, truth in frames:
        assert_boxes_follow(image, truth)


def test_a_frame_of_another_size_is_brought_to_the_clip():
    draw = ClipAugmentation(SMALL).draw(np.random.default_rng(5), (HEIGHT, WIDTH))
    image, truth = painted()
    larger = Resize(2 * HEIGHT, 3 * WIDTH).apply(image, truth)
    expected_image, expected = draw.apply(image, truth)
    result, moved = draw.apply(*larger)
    assert result.shape == expected_image.shape
    np.testing.assert_allclose(moved.boxes, expected.boxes, atol=1e-3)
    assert_boxes_follow(result, moved)


@pytest.mark.parametrize("shift", [Shift(12, 7), Shift(-12, 7), Shift(12, -7), Shift(-12, -7)], ids=repr)
def test_a_still_image_becomes_a_clip(shift):
    image, truth = painted()
    frames = shift.clip(image, truth, 4)
    assert len(frames) == 4
    np.testing.assert_array_equal(frames[0][0], image)
    for (previous, _), (following, moved) in pairwise(frames):
        assert following.shape == image.shape
        assert_boxes_follow(following, moved)
        # Of the previous frame those pixels remain that the step leaves: x from max(0, -x) to min(w, w - x).
        left, right = max(0, -shift.x), min(WIDTH, WIDTH - shift.x)
        top, bottom = max(0, -shift.y), min(HEIGHT, HEIGHT - shift.y)
        np.testing.assert_array_equal(following, cv2.resize(previous[top:bottom, left:right], (WIDTH, HEIGHT)))


def test_objects_leave_a_still_clip_and_are_dropped():
    boxes = [(0, 0, 20, 20), (150, 80, 200, 120)]
    counts = [len(truth) for _, truth in Shift(-15, -15).clip(*painted(boxes), 3)]
    assert counts == [2, 2, 1]


def test_shifts_are_as_large_as_they_may_be():
    augmentation, rng = ClipAugmentation(AugmentationConfig()), np.random.default_rng(0)
    shifts = np.array([(s.x, s.y) for s in (augmentation.draw_shift(rng, (1080, 1920)) for _ in range(4000))])
    for column in shifts.T:
        assert set(column) == set(range(-50, 51)) - {0}
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        assert abs((np.sign(shifts) == (x, y)).all(axis=1).mean() - 0.25) < 0.03


@pytest.mark.parametrize("size", [(1, 1), (2, 30), (40, 3)])
def test_tiny_images_and_no_boxes(size):
    augmentation, rng = ClipAugmentation(SMALL), np.random.default_rng(0)
    image = np.zeros((*size, 3), np.uint8)
    for _ in range(20):
        frames = augmentation.draw_shift(rng, size).clip(image, FrameBoxes.empty(), 3)
        result, truth = augmentation.draw(rng, size).apply(*frames[-1])
        assert len(truth) == 0
        assert truth.boxes.shape == (0, 4)
        assert 1 <= min(result.shape[:2]) <= max(result.shape[:2]) <= 260


def test_targets_are_centres_and_sizes_of_the_image():
    number = np.arange(6)
    boxes = np.array(
        [
            (10, 20, 30, 60),
            (-20, 10, 40, 50),  # reaches out and stays as it is
            (-30, 10, 0, 50),  # outside
            (10, 100, 20, 130),  # outside
            (50, 50, 50, 60),  # no area
            (0, 0, 200, 100),
        ],
        np.float32,
    )
    targets = make_targets(FrameBoxes(number, number + 5, boxes), (100, 200))
    assert targets.ids.tolist() == [0, 1, 5]
    assert targets.labels.tolist() == [5, 6, 10]
    expected = [[0.1, 0.4, 0.1, 0.4], [0.05, 0.3, 0.3, 0.4], [0.5, 0.5, 1, 1]]
    torch.testing.assert_close(targets.boxes, torch.tensor(expected))
    empty = make_targets(FrameBoxes.empty(), (100, 200))
    assert empty.boxes.shape == (0, 4)
    assert (empty.ids.dtype, empty.boxes.dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_min_size": 600, "crop_max_size": 384},
        {"short_sides": []},
        {"flip": 1.5},
        {"hsv": (5, 300, 30)},
        {"zoom": 2},
    ],
)
def test_settings_are_checked(settings):
    with pytest.raises(ValidationError):
        AugmentationConfig(**settings)
