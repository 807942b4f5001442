"""MOTChallenge text: what is read, and the one line that is said about what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memotr.errors import UserError
from memotr.evaluation.mot_rows import by_frame, read_rows


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    return path


def test_rows_are_read_in_their_order(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path, "2,7,1.5,2,10,20.25,0.5,-1,-1,-1\n1,3,-4,5,6,7,1,-1,-1,-1\n"))
    assert rows.frames.tolist() == [2, 1]
    assert rows.ids.tolist() == [7, 3]
    assert rows.boxes.tolist() == [[1.5, 2, 11.5, 22.25], [-4, 5, 2, 12]]
    assert rows.column(6, 9).tolist() == [0.5, 1]
    assert rows.column(10, 9).tolist() == [9, 9]


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
    rows = read_rows(write(tmp_path, text))
    assert rows.values.tolist() == [[1, 2, 3, 4, 5, 6, 1], [2, 2, 3, 4, 5, 6, 1]]


@pytest.mark.parametrize("text", ["", "\n", " \n\r\n"])
def test_empty_files_have_no_rows(tmp_path: Path, text: str) -> None:
    assert len(read_rows(write(tmp_path, text))) == 0


BAD = {
    "1,1,0,0,5,5,1\n\n2,1,0,0,5\n": "line 3: 5 columns, the first line has 7",
    "1,1,0,0,5,5,1\n2,1,0,0,5,5,1,1\n": "line 2: 8 columns, the first line has 7",
    "1,1,0,0,5\n": "line 1: 5 columns; expected frame,id,left,top,width,height",
    "1,1,0,0,5,5\n2,x,0,0,5,5\n": "line 2: 'x' is not a number",
    "frame,id,x,y,w,h\n1,1,0,0,5,5\n": "line 1: 'frame' is not a number",
    "1,1,,0,5,5\n": "line 1: '' is not a number",
    "1,1,0,0,5,5\n\n\n2,1,0,nan,5,5\n": "line 4: top is nan; boxes are in pixels",
    "1,1,0,0,inf,5\n": "line 1: width is inf",
    "1,1,0,0,5,-1e12\n": "line 1: height is -1e+12",
    "1,1,0,0,5,5\n1.5,1,0,0,5,5\n": "line 2: 1.5 is not a frame number",
    "nan,1,0,0,5,5\n": "line 1: nan is not a frame number",
    "1,1.25,0,0,5,5\n": "line 1: 1.25 is not an id",
    "1,1e30,0,0,5,5\n": "line 1: 1e+30 is not an id",
    "1,-1,0,0,5,5\n": "line 1: id -1: is this a file of detections?",
    "1,4,0,0,5,5\n2,4,0,0,5,5\n1,4,9,9,5,5\n2,4,0,0,5,5\n": "line 3: id 4 is in frame 1 already",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_lines(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_rows(path)
    assert str(error.value).startswith(f"{path}, {BAD[text]}")
    assert "\n" not in str(error.value)


def test_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="it is not text"):
        read_rows(tmp_path / "a.txt")
    with pytest.raises(UserError, match="No such file"):
        read_rows(tmp_path / "b.txt")


def test_some_frames_keep_the_order_within_each(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path, "5,9,0,0,1,1\n3,2,0,0,1,1\n5,1,0,0,1,1\n4,7,0,0,1,1\n"))
    boxes, order = by_frame(rows, np.array([4, 5]), np.arange(4), np.zeros(4, np.bool_))
    assert boxes.frames.tolist() == [0, 1, 1]
    assert boxes.ids.tolist() == [7, 9, 1]
    assert boxes.labels.tolist() == order.tolist() == [3, 0, 2]


def test_long_files_keep_the_order_within_each_frame(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(1, 4, 500)
    rows = read_rows(write(tmp_path, "".join(f"{frame},{k},0,0,1,1\n" for k, frame in enumerate(frames))))
    boxes, _ = by_frame(rows, np.arange(1, 4), rows.ids, np.zeros(500, np.bool_))
    assert boxes.ids.tolist() == [k for frame in (1, 2, 3) for k in np.flatnonzero(frames == frame)]
