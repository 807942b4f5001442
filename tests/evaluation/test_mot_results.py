"""Finding and reading result files, and the one line that is said where one is missing or wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from memotr.errors import UserError
from memotr.evaluation.ground_truth import GroundTruth, load_ground_truth
from memotr.evaluation.results import read_results
from tests.evaluation.generated import write_rows, write_sequence

TRUTH = (1, 1, 10, 10, 20, 40, 1, 1, 1)
FOUND = (1, 5, 10, 10, 20, 40, 0.9, -1, -1, -1)


def truth(tmp_path: Path, *names: str, **options: bool) -> GroundTruth:
    for name in names:
        write_sequence(tmp_path / "gt" / name, [TRUTH], 4)
    return load_ground_truth(tmp_path / "gt", **options)


def refused(message: str, path: Path, ground_truth: GroundTruth) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_results(path, ground_truth)
    assert "\n" not in str(error.value)


def test_files_by_name_here_or_in_data(tmp_path: Path) -> None:
    there = truth(tmp_path, "a", "b")
    for folder in ("flat", "trackeval/data"):
        for name in ("a", "b"):
            write_rows(tmp_path / folder / f"{name}.txt", [FOUND])
    (tmp_path / "trackeval" / "pedestrian_summary.txt").write_text("HOTA\n60\n")
    for folder in ("flat", "trackeval"):
        results = read_results(tmp_path / folder, there)
        assert {name: boxes.ids.tolist() for name, boxes in results.boxes.items()} == {"a": [5], "b": [5]}
        assert results.notes == ()


def test_hidden_files_are_not_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "results" / "a.txt", [FOUND])
    (tmp_path / "results" / "._a.txt").write_bytes(b"\x00\x05\xff")
    assert read_results(tmp_path / "results", truth(tmp_path, "a")).notes == ()


def test_one_file_for_one_sequence(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "tracks.txt", [FOUND])
    assert len(read_results(file, truth(tmp_path, "a")).boxes["a"]) == 1


def test_missing_files_are_named(tmp_path: Path) -> None:
    there = truth(tmp_path, "a", "b", "c")
    refused("nothing: no such file or folder", tmp_path / "nothing", there)
    (tmp_path / "empty").mkdir()
    refused("no result files", tmp_path / "empty", there)
    with pytest.raises(UserError, match="no result files"):
        read_results(tmp_path / "empty", there, allow_missing=True)
    write_rows(tmp_path / "results" / "b.txt", [FOUND])
    refused(r"no results for 2 of 3 sequences \(a, c\); .* --allow-missing", tmp_path / "results", there)
    results = read_results(tmp_path / "results", there, allow_missing=True)
    assert [len(results.boxes[name]) for name in "abc"] == [0, 1, 0]
    assert results.notes == ("sequences without results, scored as empty: a, c",)


def test_many_names_are_shortened(tmp_path: Path) -> None:
    there = truth(tmp_path, *(f"s{k}" for k in range(9)))
    write_rows(tmp_path / "results" / "s0.txt", [FOUND])
    refused(r"8 of 9 sequences \(s1, s2, s3, s4, s5 and 3 more\)", tmp_path / "results", there)


def test_files_of_other_sequences_are_noted(tmp_path: Path) -> None:
    there = truth(tmp_path, "a")
    for name in ("a", "x", "y"):
        write_rows(tmp_path / "results" / f"{name}.txt", [FOUND])
    assert read_results(tmp_path / "results", there).notes == ("result files of sequences that are not scored: x, y",)


def test_results_of_one_detector_are_scored_on_its_copies_of_mot17(tmp_path: Path) -> None:
    names = [f"MOT17-{video}-{detector}" for video in ("02", "04") for detector in ("DPM", "FRCNN", "SDP")]
    there = truth(tmp_path, *names)
    for video in ("02", "04"):
        write_rows(tmp_path / "results" / f"MOT17-{video}-SDP.txt", [FOUND])
    results = read_results(tmp_path / "results", there)
    assert results.truth.names == ("MOT17-02-SDP", "MOT17-04-SDP")
    assert "three copies" in results.notes[0]
    (tmp_path / "results" / "MOT17-04-SDP.txt").unlink()
    refused(r"1 of 2 sequences \(MOT17-04-SDP\)", tmp_path / "results", there)
    write_rows(tmp_path / "results" / "MOT17-04-DPM.txt", [FOUND])  # of two detectors: nothing is taken for granted
    refused("4 of 6 sequences", tmp_path / "results", there)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, *FOUND[1:]), "frame 0: frames are numbered from 1"),
        ((5, *FOUND[1:]), "frame 5 is beyond the sequence of 4 frames$"),
        ((2, *FOUND[1:7], 3, -1, -1), "column 8 has another class than 1, the only scored class"),
        ((2, *FOUND[1:7], float("inf"), -1, -1), "column 8 has another class than 1, the only scored class"),
        ((2, 5, 1, 1, float("nan"), 9, 1, -1, -1, -1), "a coordinate is NaN, infinite or beyond ±1e9"),
        (FOUND, "id 5 is repeated in frame 1"),
    ],
)
def test_bad_lines(tmp_path: Path, row: tuple[float, ...], message: str) -> None:
    there = truth(tmp_path, "MOT17-02")
    write_rows(tmp_path / "results" / "MOT17-02.txt", [FOUND, row])
    refused(f"MOT17-02.txt:2: {message}", tmp_path / "results", there)


@pytest.mark.parametrize(("own", "known"), [(1, "1"), (3, "1 or 3"), (-1, "1")])
def test_one_class_has_results_of_that_class_only(tmp_path: Path, own: int, known: str) -> None:
    """TrackEval refuses a class above 1, too; data of one class may number it in its own way."""
    write_sequence(tmp_path / "gt" / "dancetrack0001", [(*TRUTH[:7], own, 1)], 4)
    there = load_ground_truth(tmp_path / "gt")
    file = tmp_path / "results" / "dancetrack0001.txt"
    for number in (-1, 0, 1, own):
        write_rows(file, [(*FOUND[:7], number, -1, -1)])
        assert read_results(file, there).boxes["dancetrack0001"].labels.tolist() == [0]
    write_rows(file, [(*FOUND[:7], 2, -1, -1)])
    refused(f"dancetrack0001.txt:1: column 8 has another class than {known}, the only scored class", file, there)


def test_numbers_of_frames_that_do_not_begin_at_1(tmp_path: Path) -> None:
    there = truth(tmp_path, "a")
    write_rows(tmp_path / "results" / "a.txt", [(frame, *FOUND[1:]) for frame in (60, 63)])
    shifted = "the file numbers frames from 60: number them from 1"
    refused(f"a.txt:1: frame 60 is beyond the sequence of 4 frames; {shifted}", tmp_path / "results", there)


def test_classes_that_the_ground_truth_has_not(tmp_path: Path) -> None:
    write_sequence(tmp_path / "gt" / "a", [TRUTH, (1, 2, 10, 10, 20, 40, 1, 4, 1)], 4)
    there = load_ground_truth(tmp_path / "gt")
    write_rows(tmp_path / "results" / "a.txt", [(*FOUND[:7], 4), (2, *FOUND[1:7], 3)])
    refused(r"a.txt:2: class 3 \(column 8\) is not a class of the ground truth \(1, 4\)", tmp_path / "results", there)
    for numbers in ((0, 0), (0, 1), (-1, 4)):  # counted from 0; only some rows without a class
        write_rows(tmp_path / "results" / "a.txt", [(k + 1, *FOUND[1:7], number) for k, number in enumerate(numbers)])
        refused("a.txt:1: class .* use the numbers of the ground truth", tmp_path / "results", there)
    for number in (1.5, float("inf")):
        write_rows(tmp_path / "results" / "a.txt", [(*FOUND[:7], 4), (2, *FOUND[1:7], number)])
        refused(rf"a.txt:2: class {number} \(column 8\) is not a whole number", tmp_path / "results", there)


def test_a_half_has_results_of_that_half_only(tmp_path: Path) -> None:
    write_sequence(tmp_path / "gt" / "a", [TRUTH], 10)  # frames 7 to 10 are scored
    there = load_ground_truth(tmp_path / "gt", half=True)
    file = tmp_path / "results" / "a.txt"
    write_rows(file, [(frame, *FOUND[1:]) for frame in (7, 10)])
    assert read_results(tmp_path / "results", there).boxes["a"].frames.tolist() == [0, 3]
    write_rows(file, [(frame, *FOUND[1:]) for frame in (1, 4)])
    results = read_results(tmp_path / "results", there)
    assert results.boxes["a"].frames.tolist() == [0, 3]
    assert "number the second half from 1: a" in results.notes[-1]
    write_rows(file, [(frame, *FOUND[1:]) for frame in (7, 5)])
    refused(r"a.txt:2: frame 5 is in the first half; only frames 7 to 10", tmp_path / "results", there)
    write_rows(file, [(11, *FOUND[1:])])
    refused("frame 11 is beyond the sequence of 10 frames", tmp_path / "results", there)
