import numpy as np

from memotr.demo.picture import (
    BACKGROUND,
    CAPTION_HEIGHT,
    GAP,
    SCALE,
    WRONG,
    overlapped_persons,
    side_by_side,
    with_person_ids,
)
from memotr.tracks import Tracks

LEFT, RIGHT, UNMATCHED = (5, 5, 25, 45), (50, 5, 70, 45), (30, 20, 38, 30)


def tracks(frame, **boxes):
    """Ids such as t3 by their boxes."""
    ids = np.array([int(name[1:]) for name in boxes], np.int64)
    corners = np.array(list(boxes.values()), np.float32).reshape(-1, 4)
    n = len(ids)
    return Tracks(ids, corners, np.ones(n, np.float32), np.zeros(n, np.int64), frame, ("person",))


TRUTH = [tracks(t, p1=LEFT, p2=RIGHT) for t in range(2)]
SWAPPED = [tracks(0, t7=LEFT, t4=RIGHT), tracks(1, t7=RIGHT, t4=LEFT, t9=UNMATCHED)]


def test_tracks_have_the_id_of_the_first_person_they_overlap():
    first, second = with_person_ids(TRUTH, SWAPPED)
    assert first.ids.tolist() == [1, 2]
    assert second.ids.tolist()[:2] == [1, 2], "names stay, though the boxes have changed places"
    assert second.ids.tolist()[2] > 2, "nobody's name"


def test_persons_have_the_ids_of_their_first_tracks():
    persons = with_person_ids(SWAPPED, TRUTH, unique=True)
    assert [frame.ids.tolist() for frame in persons] == [[7, 4], [7, 4]]
    late = [tracks(0, t7=LEFT), tracks(1, t7=RIGHT)]  # one track for two persons
    ids = with_person_ids(late, TRUTH, unique=True)[1].ids.tolist()
    assert ids[0] == 7
    assert ids[1] != 7


def test_under_a_box_is_the_person_that_it_overlaps_most():
    assert overlapped_persons(SWAPPED[1], TRUTH[1]).tolist() == [2, 1, -1]
    assert overlapped_persons(SWAPPED[1], tracks(1)).tolist() == [-1, -1, -1]


def test_only_tracks_on_another_object_are_crossed_out():
    image = np.full((50, 80, 3), 90, np.uint8)
    picture = side_by_side({0: image, 1: image}, TRUTH, {"ours": SWAPPED})
    panel_height, panel_width = CAPTION_HEIGHT + SCALE * 50, SCALE * 80 + GAP
    assert picture.shape == (2 * panel_height, 2 * panel_width, 3)
    assert (picture[:, panel_width - GAP : panel_width] == BACKGROUND[0]).all()
    panels = [
        picture[r * panel_height + CAPTION_HEIGHT : (r + 1) * panel_height, c * panel_width : (c + 1) * panel_width]
        for r in range(2)
        for c in range(2)
    ]
    crossed = [bool((panel == WRONG).all(axis=2).any()) for panel in panels]
    assert crossed == [False, False, False, True]
