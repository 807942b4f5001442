"""Archives for benchmark servers: what is in them, and every way in which none is written."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from memotr.data.sequences import Sequence as Video
from memotr.errors import UserError
from memotr.io.bdd import BddSink
from memotr.io.mot import MotSink
from memotr.published import BDD100K_CLASSES
from memotr.submission import server_archive as archives
from memotr.submission.checked_files import CheckedFile
from memotr.submission.server_archive import submission_format, write_submission
from memotr.vocabulary import SubmissionFormat
from tests.evaluation.generated import write_rows, write_split
from tests.evaluation.trackeval_run import run_mot
from tests.io.results import make_frame, make_tracks

ROW = (1, 1, 10, 10, 20, 40, 1, -1, -1, -1)
MOT17_TEST = tuple(f"MOT17-{number}" for number in ("01", "03", "06", "07", "08", "12", "14"))


def video(name: str, length: int = 4) -> Video:
    return Video(
        name, tuple(Path(f"{name}-{k:07d}.jpg") for k in range(1, length + 1)), None, ("person",), size=(48, 64)
    )


def videos(names: Iterable[str]) -> list[Video]:
    return [video(name) for name in names]


def write_results(folder: Path, names: Iterable[str]) -> Path:
    for k, name in enumerate(names):
        write_rows(folder / f"{name}.txt", [(1, k + 1, *ROW[2:]), (4, k + 1, *ROW[2:])])
    return folder


def contents(archive: Path) -> dict[str, str]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name).decode("ascii") for name in opened.namelist()}


def refused(
    tmp_path: Path,
    message: str,
    names: Sequence[str] = ("a", "b"),
    *,
    format: SubmissionFormat = "dancetrack",
    archive: str = "out.zip",
    partial: bool = True,
) -> None:
    """Nothing is written, and an older archive is what it was."""
    target = tmp_path / archive
    target.write_bytes(b"an older archive")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as error:
        write_submission(format, videos(names), tmp_path / "results", target, partial=partial)
    assert "\n" not in str(error.value)
    assert target.read_bytes() == b"an older archive"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("format", "names", "folder"),
    [
        ("dancetrack", [f"dancetrack{k:04d}" for k in range(35)], "tracker/"),
        ("sportsmot", [f"v_00HRwkvvjtQ_c{k:03d}" for k in range(150)], ""),
        ("mot16", [f"MOT16-{number}" for number in ("01", "03", "06", "07", "08", "12", "14")], ""),
        ("mot20", [f"MOT20-{number}" for number in ("04", "06", "07", "08")], ""),
    ],
)
def test_a_whole_test_split(tmp_path: Path, format: SubmissionFormat, names: list[str], folder: str) -> None:
    results = write_results(tmp_path / "results", names)
    written = write_submission(format, videos(names), results, tmp_path / "new" / "out.zip")
    assert written.path == tmp_path / "new" / "out.zip"
    assert written.members == tuple(f"{folder}{name}.txt" for name in names)
    assert written.boxes == 2 * len(names)
    assert written.notes == ()
    found = contents(written.path)
    assert tuple(found) == written.members
    assert found[written.members[1]] == "1,2,10,10,20,40,1,-1,-1,-1\n4,2,10,10,20,40,1,-1,-1,-1\n"
    assert submission_format(names) == format


def test_one_result_stands_for_the_three_copies_of_a_mot17_video(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results", [f"{name}-SDP" for name in MOT17_TEST])
    sdp = videos(f"{name}-SDP" for name in MOT17_TEST)
    written = write_submission("mot17", sdp, results, tmp_path / "out.zip")
    assert len(written.members) == 21
    assert written.members[:4] == ("MOT17-01-DPM.txt", "MOT17-01-FRCNN.txt", "MOT17-01-SDP.txt", "MOT17-03-DPM.txt")
    assert written.boxes == 21 * 2
    assert written.notes[0].startswith("one result is used for all three copies of: MOT17-01, MOT17-03")
    found = contents(written.path)
    assert found["MOT17-03-DPM.txt"] == found["MOT17-03-SDP.txt"] != found["MOT17-01-SDP.txt"]
    every = videos(f"{name}-{detector}" for name in MOT17_TEST for detector in ("DPM", "FRCNN", "SDP"))
    again = write_submission("mot17", every, results, tmp_path / "again.zip")
    assert again.path.read_bytes() == written.path.read_bytes()


def test_three_results_of_a_mot17_video_stay_three(tmp_path: Path) -> None:
    names = [f"MOT17-01-{detector}" for detector in ("DPM", "FRCNN", "SDP")]
    results = write_results(tmp_path / "results", names)
    written = write_submission("mot17", videos(names[2:]), results, tmp_path / "out.zip", partial=True)
    assert [text.split(",")[1] for text in contents(written.path).values()] == ["1", "2", "3"]
    (results / "MOT17-01-FRCNN.txt").unlink()
    message = "no MOT17-01-FRCNN.txt, but MOT17-01-DPM and MOT17-01-SDP; keep one"
    refused(tmp_path, message, names, format="mot17")


def write_bdd(folder: Path, name: str, frames: int = 3) -> Path:
    with BddSink(folder / f"{name}.json", video_name=name) as sink:
        for k in range(frames):
            boxes = [[1.25, 2, 30, 40], [0.1, 0.2, 9, 9]] if k != 1 else []
            sink.write(make_frame(k), make_tracks(boxes, frame=k, ids=[0, 7][: len(boxes)], names=BDD100K_CLASSES))
    return folder


def test_bdd100k(tmp_path: Path) -> None:
    names = ["b1c66a42-6f7d68ca", "b1c9c847-3bda4659"]
    for name in names:
        write_bdd(tmp_path / "results", name)
    tracked = [video(name, 3) for name in names]
    written = write_submission("bdd100k", tracked, tmp_path / "results", tmp_path / "out.zip", partial=True)
    assert written.members == tuple(f"{name}.json" for name in names)
    assert written.boxes == 8
    assert written.notes == ("2 sequences to submit, and BDD100K has 1400 (train), 200 (val), 400 (test)",)
    for member, text in contents(written.path).items():
        assert json.loads(text) == json.loads((tmp_path / "results" / member).read_text())
    assert submission_format(names) == "bdd100k"


def test_written_results_are_submitted_with_equal_boxes_and_ids_from_1(tmp_path: Path) -> None:
    boxes = [[[0.1, -3.7, 20.3, 30.9], [1e-6, 5, 33, 44]], [[0.3, 0.2, 21.1, 31.7]]]
    with MotSink(tmp_path / "results" / "a.txt") as sink:
        for k, found in enumerate(boxes):
            sink.write(make_frame(k), make_tracks(found, frame=k))
    with MotSink(tmp_path / "results" / "b.txt") as sink:
        sink.write(make_frame(0), make_tracks(boxes[0], ids=[3, 9]))
    written = write_submission("mot20", videos("ab"), tmp_path / "results", tmp_path / "out.zip", partial=True)
    found = contents(written.path)
    assert "e" not in "".join(found.values())
    for name, shift in (("a", 1), ("b", 0)):
        source = [line.split(",") for line in (tmp_path / "results" / f"{name}.txt").read_text().splitlines()]
        target = [line.split(",") for line in found[f"{name}.txt"].splitlines()]
        assert [int(row[1]) for row in target] == [int(row[1]) + shift for row in source]
        for there, here in zip(source, target, strict=True):
            assert [float(cell) for k, cell in enumerate(here) if k != 1] == [
                float(cell) for k, cell in enumerate(there) if k != 1
            ]
    assert "ids begin at 0, so 1 is added to them: a.txt" in written.notes


def test_trackeval_reads_the_archive_and_finds_the_same(tmp_path: Path) -> None:
    names = ["MOT20-04", "MOT20-06"]
    gt, results = write_split(tmp_path, names, frames=12)
    lengths = {name: 12 + 3 * k for k, name in enumerate(names)}
    tracked = [video(name, length) for name, length in lengths.items()]
    archive = write_submission("mot20", tracked, results, tmp_path / "out.zip", partial=True).path
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    before, after = (run_mot(gt, folder, lengths, "MOT20") for folder in (results, tmp_path / "unpacked"))
    for name in names:
        assert after[name]["HOTA"]["HOTA"].tolist() == before[name]["HOTA"]["HOTA"].tolist()
        assert after[name]["CLEAR"] == before[name]["CLEAR"]


def test_the_same_results_make_the_same_archive(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results", "ab")
    first = write_submission("dancetrack", videos("ab"), results, tmp_path / "first.zip", partial=True)
    rows = [f"{line}\r\n" for line in reversed((results / "a.txt").read_text().splitlines())]
    (results / "a.txt").write_bytes(("\ufeff" + "\r\n".join(rows).replace(",", ", ")).encode())
    second = write_submission("dancetrack", videos("ab"), results, tmp_path / "second.zip", partial=True)
    assert second.path.read_bytes() == first.path.read_bytes()
    with zipfile.ZipFile(first.path) as opened:
        assert {info.date_time for info in opened.infolist()} == {archives.EARLIEST}


def test_notes(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results", ["a", "x"])
    (results / "b.txt").write_text("")
    write_rows(results / "c.txt", [(1, 0, 70, 0, 10, 10, 1, -1, -1, -1), ROW])  # the image is 64 pixels wide
    told: list[tuple[str, int]] = []
    written = write_submission(
        "sportsmot",
        videos("abc"),
        results,
        tmp_path / "out.zip",
        partial=True,
        progress=lambda name, total: told.append((name, total)),
    )
    assert written.notes == (
        "SportsMOT has no sequence named a, b, c",
        "no boxes in: b.txt",
        "ids begin at 0, so 1 is added to them: c.txt",
        "boxes outside their image; is their unit pixels?: c.txt (1 of 2)",
        "result files that belong to no sequence of the split, left out: x",
    )
    assert contents(written.path)["b.txt"] == ""
    assert told == [(f"{name}.txt", 6) for name in "abcabc"]


def test_other_sequences_than_the_benchmark_has(tmp_path: Path) -> None:
    names = [f"dancetrack{k:04d}" for k in range(34)]
    write_results(tmp_path / "results", names)
    refused(
        tmp_path,
        r"34 sequences to submit, and DanceTrack has 40 \(train\), 25 \(val\), 35 \(test\); complete .* --partial",
        names,
        partial=False,
    )
    refused(tmp_path, "DanceTrack has no sequence named MOT20-04", [*names, "MOT20-04"], partial=False)
    refused(
        tmp_path, r"1 sequence to submit, and MOT17 has 7 \(train\)", ["MOT17-01-SDP"], format="mot17", partial=False
    )


def test_missing_results(tmp_path: Path) -> None:
    refused(tmp_path, r"results: no result files \(<sequence>.txt\) in this folder")
    write_results(tmp_path / "results", ["a", "c"])
    refused(tmp_path, r"results: no results for 2 of 4 sequences \(b, d\)", "abcd")
    refused(tmp_path, r"no results for 1 of 1 sequences \(MOT17-01\)", ["MOT17-01-DPM"], format="mot17")
    refused(tmp_path, r"no result files \(<sequence>.json\)", format="bdd100k")


def test_results_in_the_output_folder_of_eval(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("the first try")
    results = write_results(tmp_path / "run" / "results", ["MOT17-01-SDP"])
    first, second = (
        write_submission("mot17", videos(["MOT17-01-DPM"]), folder, tmp_path / f"{folder.name}.zip", partial=True)
        for folder in (results, results.parent)
    )
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.notes == second.notes


def test_hidden_files_are_no_results(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results", ["a"])
    (results / "._a.txt").write_bytes(b"\0\5\x16\7\xff")
    written = write_submission("dancetrack", videos("a"), results, tmp_path / "out.zip", partial=True)
    assert not any("left out" in note for note in written.notes)


def test_not_one_box(tmp_path: Path) -> None:
    for name in "ab":
        write_rows(tmp_path / "results" / f"{name}.txt", [])
    refused(tmp_path, "results: no boxes in any of 2 result files")
    refused(tmp_path, "results: no boxes in any of 0 result files", ())


def test_a_wrong_line_in_the_last_file(tmp_path: Path) -> None:
    write_rows(write_results(tmp_path / "results", "a") / "b.txt", [ROW, (5, *ROW[1:])])
    refused(tmp_path, "b.txt:2: frame 5 is beyond the sequence of 4 frames")


def test_archives_that_cannot_be_written(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results", "ab")
    refused(tmp_path, r"out\.tar\.gz: servers take zip archives", archive="out.tar.gz")
    (tmp_path / "taken.zip").mkdir()
    for archive in (tmp_path / "taken.zip", results / "a.txt" / "out.zip"):
        with pytest.raises(UserError, match="cannot write"):
            write_submission("dancetrack", videos("ab"), results, archive, partial=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-30], "cannot be read back"),
        (lambda data: data[:60] + bytes([data[60] ^ 255]) + data[61:], "cannot be read back"),
        (lambda data: data.replace(b"tracker/b", b"tracker/c"), "its files are not those that were written"),
    ],
    ids=["cut off", "another byte", "other names"],
)
def test_an_archive_that_the_disk_spoilt(tmp_path, monkeypatch, damage, message) -> None:
    pack = archives._pack
    write_results(tmp_path / "results", "ab")

    def spoilt(path: Path, *rest: object) -> list[CheckedFile]:
        checked = pack(path, *rest)
        path.write_bytes(damage(path.read_bytes()))
        return checked

    monkeypatch.setattr(archives, "_pack", spoilt)
    refused(tmp_path, message)


def test_an_archive_that_reads_back_with_another_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = archives._pack
    write_results(tmp_path / "results", "ab")

    def spoilt(path: Path, *rest: object) -> list[CheckedFile]:
        checked = pack(path, *rest)
        texts = contents(path)
        texts["tracker/b.txt"] *= 2
        with zipfile.ZipFile(path, "w") as opened:
            for name, text in texts.items():
                opened.writestr(name, text)
        return checked

    monkeypatch.setattr(archives, "_pack", spoilt)
    refused(tmp_path, "b.txt differs from what was written")


def test_names_of_no_benchmark() -> None:
    assert submission_format(["MOT17-01-SDP", "MOT17-03-SDP"]) == "mot17"
    for names in (["a"], [], ["MOT20-04", "MOT17-03-SDP"]):
        with pytest.raises(UserError, match="of no benchmark with a server"):
            submission_format(names)


def test_a_sequence_that_was_copied_in_part(tmp_path: Path) -> None:
    names = ["MOT20-04", "MOT20-06", "MOT20-07", "MOT20-08"]
    tracked = videos(names)
    folder = tmp_path / "MOT20-07"
    folder.mkdir()
    (folder / "seqinfo.ini").write_text("[Sequence]\nseqLength=585\n")
    tracked[2] = Video(
        names[2], tuple(folder / "img1" / f"{k}.jpg" for k in range(4)), None, ("person",), size=(48, 64)
    )
    results = write_results(tmp_path / "results", names)
    with pytest.raises(UserError, match=r"MOT20-07 has 4 of its 585 images .*; complete the data set.* --partial"):
        write_submission("mot20", tracked, results, tmp_path / "out.zip")
    assert write_submission("mot20", tracked, results, tmp_path / "out.zip", partial=True).notes
