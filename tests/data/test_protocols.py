"""Rules of single benchmarks, on tables small enough to read."""

from pathlib import Path

import numpy as np
import pytest

from memotr.data.annotations import AnnotationTable, Origin
from memotr.data.problems import Problems
from memotr.data.protocols import PERSON, RULES
from memotr.data.sequences import FrameBoxes, Recording


def trained(rules: str, boxes: list[tuple[float, ...]], visibility: list[float] | None = None) -> FrameBoxes:
    """The objects that are trained on, of one frame with these boxes (xyxy)."""
    n, file = len(boxes), Path("a/gt.txt")
    table = AnnotationTable.from_columns(
        np.ones(n),
        np.arange(n),
        np.ones(n),
        boxes,
        Origin.from_lines(file, np.arange(n)),
        visibility=None if visibility is None else np.array(visibility),
    )
    recording = Recording("a", file, (Path("1.jpg"),), np.ones(1, np.int64), range(1, 2), table)
    (frame,) = RULES[rules].trainable(recording, PERSON, None, Problems())
    return frame


@pytest.mark.parametrize(
    ("visibility", "ids"), [(None, [0, 1, 2]), ([0.0, 0.1, 1.0], [1, 2]), ([np.nan, 0.0, -1.0], [0])]
)
def test_motsynth_leaves_out_what_is_known_to_be_hidden(visibility: list[float] | None, ids: list[int]) -> None:
    assert trained("motsynth", [(1, 1, 9, 9)] * 3, visibility).ids.tolist() == ids


def test_whole_pixels_of_mot17_are_those_of_left_top_width_and_height() -> None:
    """0.1 + 4 - 0.1 is less than 4 in floating point."""
    assert 0.1 + 4 - 0.1 < 4
    boxes = [(0.1, 7.9, 0.1 + 4, 7.9 + 5.5)]
    assert trained("mot17", boxes).boxes.tolist() == [[0, 7, 4, 12]]
    np.testing.assert_array_equal(trained("mot20", boxes).boxes, np.array(boxes, np.float32))
