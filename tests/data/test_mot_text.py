"""MOTChallenge text: what is read, and the one line that is said about what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memotr.data.annotations import AnnotationTable
from memotr.data.formats.mot_text import read_results, read_truth, read_values
from memotr.data.problems import Problems
from memotr.data.truth import VideoBoxes
from memotr.errors import UserError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    return path


def test_rows_are_read_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path, "2,7,1.5,2,10,20.25,0.5,-1,-1,-1\n1,3,-4,5,6,7,1,-1,-1,-1\n")
    for read in (read_truth, read_results):
        table = read(path, Problems(stop=True))
        assert table.frames.tolist() == [2, 1]
        assert table.ids.tolist() == [7, 3]
        assert table.boxes.tolist() == [[1.5, 2, 11.5, 22.25], [-4, 5, 2, 12]]
        assert table.marks.tolist() == [0.5, 1]
        assert table.categories.tolist() == [-1, -1]
        assert np.isnan(table.visibility).all()
        assert not table.regions.any()
        assert [table.origin.locate(row) for row in range(2)] == [(path, 1), (path, 2)]
    assert read_values(path, Problems(stop=True)).column(10) is None


def test_marks_classes_and_visibility(tmp_path: Path) -> None:
    """In ground truth they are columns 7, 8 and 9; of ten columns, those behind the mark are coordinates."""
    nine = read_truth(write(tmp_path, "1,1,0,0,5,5,0,3,0.25\n"), Problems(stop=True))
    assert (nine.marks.tolist(), nine.categories.tolist(), nine.visibility.tolist()) == ([0], [3], [0.25])
    assert not nine.marked.any()
    ten = read_truth(write(tmp_path, "1,1,0,0,5,5,1,3.5,0.25,7\n"), Problems(stop=True))
    assert (ten.categories.tolist(), np.isnan(ten.visibility).tolist()) == ([-1], [True])
    six = read_truth(write(tmp_path, "1,1,0,0,5,5\n"), Problems(stop=True))
    assert np.isnan(six.marks).all()
    assert six.marked.all()
    assert read_results(write(tmp_path, "1,1,0,0,5,5,0.9,3,-1,-1\n"), Problems(stop=True)).categories.tolist() == [3]


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,4,5,6,1\n2,2,3,4,5,6,1",
        "1 2 3 4 5 6 1\n2 2 3 4 5 6 1\n",
        "1\t2\t3\t4\t5\t6\t1\n2\t2\t3\t4\t5\t6\t1\n",
        "\ufeff1, 2, 3, 4, 5, 6, 1\r\n\r\n2, 2, 3, 4, 5, 6, 1\r\n",
        "1,2,3,4,5,6,1,\n  \n2,2,3,4,5,6,1,\n",
        "1.0,2.0,3,4e0,5,6,1\n2,2,3,4,5,6,1\n",
    ],
    ids=["plain", "spaces", "tabs", "windows", "comma at the end", "floats"],
)
def test_the_same_rows_written_otherwise(tmp_path: Path, text: str) -> None:
    rows = read_values(write(tmp_path, text), Problems(stop=True))
    assert rows.values.tolist() == [[1, 2, 3, 4, 5, 6, 1], [2, 2, 3, 4, 5, 6, 1]]


@pytest.mark.parametrize("text", ["", "\n", " \n\r\n"])
def test_empty_files_have_no_rows(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    for read in (read_truth, read_results, read_values):
        problems = Problems()
        assert len(read(path, problems)) == 0
        assert [str(note) for note in problems.notes] == [f"{path}: no rows: no frame has an object"]
        assert not problems.errors


BAD = {
    "1,1,0,0,5,5,1\n\n2,1,0,0,5\n": "3: found 5 values; expected frame, id, left, top, width, height",
    "1,1,0,0,5,5,1\n\n2,1,0,0,5,5\n": "3: found 6 values, but line 1 has 7",
    "1,1,0,0,5,5,1\n2,1,0,0,5,5,1,1\n": "2: found 8 values, but line 1 has 7",
    "1,1,0,0,5\n": "1: found 5 values; expected frame, id, left, top, width, height",
    "1,1,0,0,5,5\n2,x,0,0,5,5\n": "2: 'x' is not a number; columns are frame, id",
    "frame,id,x,y,w,h\n1,1,0,0,5,5\n": "1: 'frame' is not a number",
    "1,1,,0,5,5\n": "1: '' is not a number",
    "1,1,0,0,5,5\n\n\n2,1,0,nan,5,5\n": "4: a coordinate is NaN, infinite or beyond ±1e9; boxes must be in pixels",
    "1,1,0,0,inf,5\n": "1: a coordinate is NaN, infinite",
    "1,1,0,0,5,-1e12\n": "1: a coordinate is NaN, infinite or beyond ±1e9",
    "1,1,0,0,5,5\n1.5,1,0,0,5,5\n": "2: frame 1.5 is not a whole number",
    "nan,1,0,0,5,5\n": "1: frame nan is not a whole number",
    "1,1.25,0,0,5,5\n": "1: id 1.25 is not a whole number",
    "1,1e30,0,0,5,5\n": "1: id 1e+30 is not a whole number",
    "1,-1,0,0,5,5\n": "1: id -1 is negative: is this a file of detections?",
    "1,4,0,0,5,5\n2,4,0,0,5,5\n1,4,9,9,5,5\n2,4,0,0,5,5\n": "3: id 4 is repeated in frame 1",
}


@pytest.mark.parametrize("read", [read_truth, read_results])
@pytest.mark.parametrize("text", BAD)
def test_bad_lines(tmp_path: Path, text: str, read: Callable[[Path, Problems], AnnotationTable]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        read(path, Problems(stop=True))
    assert str(error.value).startswith(f"{path}:{BAD[text]}")
    assert "\n" not in str(error.value)


def test_all_bad_lines_in_one_pass(tmp_path: Path) -> None:
    problems = Problems()
    text = "1,1,0,0,5,5,1\nx\n2,1,0,nan,5,5,1\n3,1.5,0,0,5,5,1\n\n4,1,0,0,5,5\n5,1,0,0,5,5,1\n5,1,0,0,5,5,1\n"
    table = read_truth(write(tmp_path, text), problems)
    assert (table.frames.tolist(), table.origin.positions[:, 0].tolist()) == ([1, 5], [1, 7])
    assert sorted(place for problem in problems.errors for place in problem.places) == [2, 3, 4, 6, 8]


def test_negative_ids_of_rows_that_do_not_count(tmp_path: Path) -> None:
    """In ground truth the mark says so; in results every row counts, whatever its score."""
    path = write(tmp_path, "1,-1,0,0,5,5,0\n1,-1,9,9,5,5,0\n")
    assert len(read_truth(path, Problems(stop=True))) == 2
    with pytest.raises(UserError, match=r"a.txt:1: id -1 is negative: is this a file of detections"):
        read_results(path, Problems(stop=True))


def test_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"a.txt: cannot be read: it is not text"):
        read_values(tmp_path / "a.txt", Problems(stop=True))
    with pytest.raises(UserError, match=r"b.txt: cannot be read: No such file"):
        read_values(tmp_path / "b.txt", Problems(stop=True))


def test_some_frames_keep_the_order_within_each(tmp_path: Path) -> None:
    path = write(tmp_path, "5,9,0,0,1,1\n3,2,0,0,1,1\n5,1,0,0,1,1\n4,7,0,0,1,1\n")
    table = read_results(path, Problems(stop=True))
    boxes, order = VideoBoxes.by_frame(table, range(4, 6), np.arange(4), np.zeros(4, np.bool_))
    assert boxes.frames.tolist() == [0, 1, 1]
    assert boxes.ids.tolist() == [7, 9, 1]
    assert boxes.labels.tolist() == order.tolist() == [3, 0, 2]
    gaps, _ = VideoBoxes.by_frame(table, (3, 5), np.arange(4), np.zeros(4, np.bool_), table.ids != 1)
    assert (gaps.frames.tolist(), gaps.ids.tolist()) == ([0, 1], [2, 9])


def test_long_files_keep_the_order_within_each_frame(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(1, 4, 500)
    path = write(tmp_path, "".join(f"{frame},{k},0,0,1,1\n" for k, frame in enumerate(frames)))
    table = read_results(path, Problems(stop=True))
    boxes, _ = VideoBoxes.by_frame(table, range(1, 4), table.ids, np.zeros(500, np.bool_))
    assert boxes.ids.tolist() == [k for frame in (1, 2, 3) for k in np.flatnonzero(frames == frame)]
