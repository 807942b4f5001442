"""What is drawn, where, and that nothing is remembered for ever."""

import gc
import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from memotr.io import draw
from memotr.io.draw import Annotator, track_color
from tests.io.results import make_tracks

HEIGHT, WIDTH = 240, 320


def grey(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 90, np.uint8)


def changed(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W) where a grey image was drawn upon."""
    return np.asarray((image != 90).any(axis=2))


def oklab(color: tuple[int, int, int]) -> NDArray[np.float64]:
    """sRGB to OKLab by the matrices of its author, the other way round from the code's."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(color) / 255])
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.asarray(np.array(to_lab) @ np.cbrt(np.array(to_lms) @ linear))


def test_colours_of_near_ids_are_far_apart() -> None:
    colors = [oklab(track_color(i)) for i in range(300)]
    nearest = min(np.linalg.norm(colors[i] - colors[i + step]) for step in range(1, 25) for i in range(300 - step))
    assert nearest > 0.03  # 0.02 is about the least difference that one sees
    neighbours = min(np.linalg.norm(a - b) for a, b in itertools.pairwise(colors))
    assert neighbours > 0.15
    assert {round(float(color[0]), 2) for color in colors} == {0.64, 0.78}


def test_the_frame_itself_is_not_drawn_on() -> None:
    image = grey()
    drawn = Annotator().annotate(image, make_tracks([[50, 50, 120, 200]]))
    assert not changed(image).any()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert changed(drawn).any()


def test_box_and_label_in_the_colour_of_the_id() -> None:
    drawn = Annotator(trail_length=0).annotate(grey(), make_tracks([[50, 60, 150, 200]], ids=[3]))
    color = np.array(track_color(3))
    for x, y in ((50, 130), (150, 130), (100, 60), (100, 200)):  # the middle of each side
        assert np.abs(drawn[y, x].astype(int) - color).max() < 40
    assert (drawn[45:59, 51:60] == color).all(axis=2).any()  # the plate stands on the upper left corner
    ys, xs = np.nonzero(changed(drawn))
    assert (xs.min(), xs.max(), ys.max()) == pytest.approx((50, 150, 200), abs=2)
    assert not changed(drawn)[65:195, 55:145].any()


def test_labels_show_the_class_on_wide_boxes() -> None:
    def label_width(box_width: int) -> int:
        tracks = make_tracks([[50, 60, 50 + box_width, 200]], names=("pedestrian",))
        label = changed(Annotator(trail_length=0).annotate(grey(), tracks))[46:57]
        return int(np.nonzero(label.any(axis=0))[0].max()) - 50

    assert label_width(20) < 25
    assert label_width(90) > 45


def test_a_label_does_not_flicker() -> None:
    """A box that breathes about the width at which the class fits keeps the label it has."""
    annotator = Annotator(trail_length=0)
    widths = range(10, 100)
    first = []
    for width in (*widths, *reversed(widths)):
        drawn = annotator.annotate(grey(), make_tracks([[50, 60, 50 + width, 200]], names=("person",)))
        first.append(bool(changed(drawn)[46:57, 80:90].any()))
    up, down = first[: len(widths)], first[len(widths) :][::-1]
    assert up[-1]
    assert not up[0]
    assert sum(down) > sum(up) + 3


def test_trail_follows_the_foot_and_fades() -> None:
    annotator = Annotator(trail_length=20)
    image = grey()
    for x in range(0, 200, 10):
        image = annotator.annotate(grey(), make_tracks([[x, 40, x + 40, 150]]))
    strength = np.abs(image[150].astype(int) - 90).sum(axis=1)  # along the way, from (20, 150) to (210, 150)
    assert strength[40] < strength[80] < strength[120] < strength[160]
    assert strength[160] > 100
    assert not changed(image)[100:145, 20:180].any()


def test_trail_scales_with_the_frames() -> None:
    """A person who stands still leaves no trail, also where the frames grow, as in joined segments."""
    annotator = Annotator()
    annotator.annotate(grey(), make_tracks([[50, 40, 90, 150]]))
    drawn = annotator.annotate(grey(2 * HEIGHT, 2 * WIDTH), make_tracks([[100, 80, 180, 300]]))
    assert not changed(drawn)[310:].any()
    assert not changed(drawn)[100:290, 110:170].any()


def test_trail_of_a_lost_track_fades_away() -> None:
    annotator = Annotator(trail_length=10)
    for x in range(0, 100, 10):
        annotator.annotate(grey(), make_tracks([[x, 40, x + 40, 150]]))
    left = [int(changed(annotator.annotate(grey(), make_tracks([]))).sum()) for _ in range(12)]
    assert left[0] > 100
    assert all(a >= b for a, b in itertools.pairwise(left))
    assert left[-1] == 0


def test_memory_is_bounded() -> None:
    annotator = Annotator(trail_length=8)
    for i in range(200):
        annotator.annotate(grey(40, 40), make_tracks([[5, 5, 20, 20], [8, 8, 30, 30]], ids=[0, i + 1]))
        known = annotator._identities
        assert len(known) <= 10
        assert max(len(identity.points) for identity in known.values()) <= 9
    assert 0 in known
    assert 1 not in known


@pytest.mark.parametrize("side", [1, 2, 7, 30, 2160])
def test_every_size(side: int) -> None:
    annotator = Annotator()
    for i in range(3):
        tracks = make_tracks([[0.1 * side + i, 0.1 * side, 0.8 * side, 0.9 * side], [0, 0, side, side]])
        drawn = annotator.annotate(grey(side, side), tracks)
        assert drawn.shape == (side, side, 3)
        assert changed(drawn).any()


def test_boxes_from_everywhere() -> None:
    boxes = [
        [-1e9, -1e9, 1e9, 1e9],
        [-500, -500, -10, -10],
        [1000, 50, 2000, 90],
        [math.nan, 5, 20, 20],
        [math.inf, 5, math.inf, 20],
        [30, 30, 30, 30],
        [60, 60, 50, 50],
        [-20, 100, 30, 300],
    ]
    annotator = Annotator()
    for _ in range(4):
        drawn = annotator.annotate(grey(), make_tracks(boxes))
    assert changed(drawn)[150:200, 25:35].any()
    assert not changed(drawn)[80:95, 200:300].any()


def test_trail_to_the_end_of_the_world() -> None:
    annotator = Annotator()
    for far in (0, 1e9, -1e9, 0):
        drawn = annotator.annotate(grey(), make_tracks([[50 + far, 60, 150 + far, 200]]))
    assert changed(drawn)[200, :].all()


def test_labels_keep_out_of_each_others_way() -> None:
    """Two people side by side, heads level: both numbers can be read."""
    boxes = [[100, 80, 140, 200], [104, 80, 144, 210]]
    both = Annotator(trail_length=0).annotate(grey(), make_tracks(boxes, ids=[5, 8]))
    for track_id in (5, 8):
        plate = (both == np.array(track_color(track_id))).all(axis=2)
        assert plate.sum() > 80


def test_labels_keep_off_heads() -> None:
    """One person stands in front of another, whose head shows just above."""
    boxes = [[100, 40, 140, 160], [100, 70, 140, 210]]
    drawn = Annotator(trail_length=0).annotate(grey(), make_tracks(boxes, ids=[5, 8]))
    assert not changed(drawn)[43:64, 112:128].any()
    assert (drawn == np.array(track_color(8))).all(axis=2).sum() > 60, "its label is somewhere else"


def test_labels_stay_in_the_frame() -> None:
    boxes = [[0, 0, 60, HEIGHT], [WIDTH - 8, 0, WIDTH + 90, 40], [100, HEIGHT - 20, 190, HEIGHT + 50]]
    drawn = Annotator(trail_length=0).annotate(grey(), make_tracks(boxes, ids=[0, 1, 2]))
    for track_id in range(3):
        assert (drawn == np.array(track_color(track_id))).all(axis=2).sum() > 60


def test_only_labels_of_living_identities_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendered once each, and gone with their identity, however long the video."""
    rendered: list[str] = []
    render = draw._render_label

    def counted(words: str, *arguments: object) -> draw._Label:
        rendered.append(words)
        return render(words, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(draw, "_render_label", counted)
    annotator, boxes = Annotator(), [[10.0, 60.0, 30.0, 200.0], [50.0, 60.0, 250.0, 200.0]]
    for i in range(200):
        annotator.annotate(grey(), make_tracks(boxes, ids=[i // 2, 1000 + i // 2]))
    gc.collect()
    kept = [each for each in gc.get_objects() if isinstance(each, draw._Label)]
    assert len(kept) <= 2 * len(boxes)  # with the class and without
    assert len(rendered) == len(set(rendered)) == 100 + 2 * 100  # where there is no room, with the class and without
    assert track_color.cache_info().maxsize <= 256
    annotator.annotate(grey(), make_tracks([]))
    del kept
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, draw._Label)]
