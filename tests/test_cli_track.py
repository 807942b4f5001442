"""The command `memotr track`, from its arguments to its files, exit code and the one line of an error."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from memotr import cli
from memotr.config import load_config
from memotr.errors import UserError
from memotr.io.outputs import open_outputs
from memotr.io.sinks import close_all
from memotr.io.sources import open_source
from memotr.tracks import Tracks
from tests.full_disk import files_end_at, needs_limits
from tests.io.results import make_tracks, read_mot
from tests.io.streams import Answer, serving
from tests.io.videos import numbered, numbered_video, two_streams, write_video
from tests.test_addresses import SECRET, WITH_CREDENTIALS


@dataclass
class Run:
    """What the command asked for, and what its stand-in for the tracker is to do."""

    loaded: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    raise_at: dict[int, signal.Signals | Exception] = field(default_factory=dict)
    updates: int = 0


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """The network replaced by one moving box a frame, in an empty working folder."""
    run = Run()

    def open_model(path: str, **options: Any) -> str:
        run.loaded = {"path": path, **options}
        if options["device"] == "cuda:7":
            raise UserError("device cuda:7: not there")
        return "model"

    class FakeTracker:
        config = load_config("tiny")
        precision = "32"

        def __init__(self, model: str, **settings: Any) -> None:
            assert model == "model"
            run.settings = settings

        def reset(self) -> None:
            run.updates = 0

        def prepare(self, frame: NDArray[np.uint8], /) -> NDArray[np.uint8]:
            return frame

        def update(self, frame: NDArray[np.uint8], /) -> Tracks:
            run.updates += 1
            match run.raise_at.get(run.updates):
                case signal.Signals() as number:
                    signal.raise_signal(number)
                case Exception() as error:
                    raise error
            return make_tracks([[run.updates, 2, 30, 40]], frame=run.updates - 1)

    monkeypatch.setattr("memotr.api.open_model", open_model)
    monkeypatch.setattr("memotr.api.Tracker", FakeTracker)
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Exit code of ``memotr track ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["memotr", "track", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_a_video(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    numbered_video(Path("my.clip.mp4"), 9, audio=True)
    assert call(monkeypatch, "my.clip.mp4", "--checkpoint", "weights.pth") == 0
    output = capsys.readouterr()
    first, second = output.out.splitlines()
    assert first.startswith("9 frames, 1 ids in ")
    assert first.endswith("frames/s), precision 32")
    assert second == "wrote outputs/my.clip.txt, outputs/my.clip.jsonl, outputs/my.clip.mp4"
    assert sorted(path.name for path in Path("outputs").iterdir()) == ["my.clip.jsonl", "my.clip.mp4", "my.clip.txt"]
    assert list(read_mot(Path("outputs/my.clip.txt"))) == list(range(1, 10))
    with open_source("outputs/my.clip.mp4") as video:
        assert len(list(video)) == 9
        assert video.fps == 25
    assert run.loaded == {"path": "weights.pth", "config": None, "settings": (), "device": "auto", "kernel": "auto"}
    given = {name: value for name, value in run.settings.items() if value is not None}
    assert given == {"precision": "auto", "graph": "auto"}, "thresholds that nobody gave are the checkpoint's"


def test_every_option(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    numbered_video(Path("clip.mp4"), 30)
    options = """--checkpoint w.pth --config mot17 --output results/new --device cpu --precision bf16 --kernel reference
        --det-thresh 0.6 --track-thresh 0.4 --result-thresh 0.3 --miss-tolerance 12
        --set input.short_side=480 --set tracking.min_area=0
        --start 3 --end 29 --stride 4 --max-frames 5 --no-video --skip-bad --preprocess-on-device --graph off"""
    assert call(monkeypatch, "clip.mp4", *options.split()) == 0
    settings = ["input.short_side=480", "tracking.min_area=0"]
    wanted = {"path": "w.pth", "config": "mot17", "settings": settings, "device": "cpu", "kernel": "reference"}
    assert run.loaded == wanted
    assert run.settings == {
        "det_thresh": 0.6,
        "track_thresh": 0.4,
        "result_thresh": 0.3,
        "miss_tolerance": 12,
        "precision": "bf16",
        "preprocess_on_device": True,
        "graph": "off",
    }
    assert sorted(path.name for path in Path("results/new").iterdir()) == ["clip.jsonl", "clip.txt"]
    lines = [json.loads(line) for line in Path("results/new/clip.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [3, 7, 11, 15, 19]
    assert [line["time"] for line in lines] == pytest.approx([i / 25 for i in (3, 7, 11, 15, 19)])
    assert list(read_mot(Path("results/new/clip.txt"))) == [4, 8, 12, 16, 20]
    assert "5 frames" in capsys.readouterr().out


def test_an_exported_tracker(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Chosen by the file's ending; what the export settled cannot be given again."""
    from tests.builders import tiny_model
    from tests.export.builders import EagerEngine

    numbered_video(Path("clip.mp4"), 2)
    opened: list[tuple[str, str]] = []

    def open_engine(path: str, device: str) -> EagerEngine:
        opened.append((path, device))
        return EagerEngine(tiny_model())

    monkeypatch.setattr("memotr.api.open_engine", open_engine)
    for engine in ("auto", "onnx"):
        assert call(monkeypatch, "clip.mp4", "--checkpoint", "a.onnx", "--engine", engine, "--det-thresh", "0.3") == 0
    assert opened == [("a.onnx", "auto")] * 2
    assert len(read_mot(Path("outputs/clip.txt"))) == 2
    assert not run.loaded
    capsys.readouterr()
    assert call(monkeypatch, "clip.mp4", "--checkpoint", "a.onnx", "--precision", "bf16") == 2
    assert "a.onnx: is exported, which fixes some options: leave out --precision\n" in capsys.readouterr().err
    assert call(monkeypatch, "clip.mp4", "--checkpoint", "a.onnx", "--batch", "2", "--compile") == 2
    assert "leave out --compile, --batch\n" in capsys.readouterr().err
    assert call(monkeypatch, "clip.mp4", "--checkpoint", "a.pth", "--engine", "onnx") == 2
    assert "engine onnx does not run a.pth: memotr export a.pth FILE.onnx" in capsys.readouterr().err


def test_a_compiled_step(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from memotr.api import Tracker  # the stand-in of this test

    monkeypatch.setattr("memotr.api.CompiledTracker", type("Compiled", (Tracker,), {}))
    numbered_video(Path("clip.mp4"), 2)
    assert call(monkeypatch, "clip.mp4", "--checkpoint", "c", "--compile", "--precision", "bf16") == 0
    assert run.settings["precision"] == "bf16"
    capsys.readouterr()
    assert call(monkeypatch, "clip.mp4", "--checkpoint", "c", "--compile", "--batch", "2") == 2
    assert "--compile does not work with --batch" in capsys.readouterr().err


def test_an_older_run_is_replaced(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (4, 2):
        numbered_video(Path("clip.mp4"), count)
        assert call(monkeypatch, "clip.mp4", "--checkpoint", "c") == 0
    assert capsys.readouterr().out.endswith("outputs/clip.mp4 (in place of older ones)\n")
    assert len(read_mot(Path("outputs/clip.txt"))) == 2


def test_two_runs_at_once(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The second one for the same results is refused before it tracks anything; others may use the folder."""
    for name in ("clip", "other"):
        numbered_video(Path(f"{name}.mp4"), 4)
    with open_source("clip.mp4") as source:
        sinks = open_outputs(source, Path("outputs"), video=False)
        there = sorted(Path("outputs").iterdir())
        assert call(monkeypatch, "other.mp4", "clip.mp4", "--checkpoint", "c") == 2
        assert capsys.readouterr().err == (
            "memotr: outputs/clip.txt: another process is writing this file; wait for it to end, or choose another "
            "folder\n"
        )
        assert (run.updates, sorted(Path("outputs").iterdir())) == (0, there)
        assert call(monkeypatch, "other.mp4", "--checkpoint", "c") == 0
        close_all(sinks)
    assert call(monkeypatch, "clip.mp4", "other.mp4", "--checkpoint", "c") == 0


def test_planted_names_are_neither_followed_nor_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links and FIFOs under the names that drafts had, and that they could have."""
    numbered_video(Path("clip.mp4"), 4)
    Path("victim").write_text("precious")
    Path("outputs").mkdir()
    for ending in ("txt", "jsonl", "mp4"):
        Path(f"outputs/clip.{ending}").symlink_to("../victim")
        Path(f"outputs/clip.{ending}.part").symlink_to("../victim")
        Path(f"outputs/.clip.{ending}.0123456789abcdef.part").symlink_to("../victim")
        if hasattr(os, "mkfifo"):
            os.mkfifo(f"outputs/.clip.{ending}.fedcba9876543210.part")
    assert call(monkeypatch, "clip.mp4", "--checkpoint", "c") == 0
    assert Path("victim").read_text() == "precious"
    for ending in ("txt", "jsonl", "mp4"):
        assert not Path(f"outputs/clip.{ending}").is_symlink()
    assert len(read_mot(Path("outputs/clip.txt"))) == 4


@needs_limits
def test_a_full_disk(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2, all results of the run before as they were, and what was written can be read."""
    numbered_video(Path("clip.mp4"), 200)
    assert call(monkeypatch, "clip.mp4", "--checkpoint", "c") == 0
    older = {file.name: file.read_bytes() for file in Path("outputs").iterdir()}
    for size in (0, 10_000, len(older["clip.jsonl"]) - 1):
        capsys.readouterr()
        with files_end_at(size):
            assert call(monkeypatch, "clip.mp4", "--checkpoint", "c") == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("memotr: cannot write outputs/clip.")
        assert "File too large; older results are kept" in last
        assert {file.name: file.read_bytes() for file in Path("outputs").iterdir() if file.name in older} == older
        for file in Path("outputs").glob(".clip.*.part"):
            assert str(file) in last
            if ".jsonl." in file.name:
                assert [json.loads(line)["frame"] for line in file.read_text().splitlines()]
    assert call(monkeypatch, "clip.mp4", "--checkpoint", "c") == 0
    assert sorted(file.name for file in Path("outputs").iterdir()) == sorted(older), "leftovers are removed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_by_a_signal(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    numbered_video(Path("clip.mp4"), 20)
    run.raise_at[8] = number
    assert call(monkeypatch, "clip.mp4", "--checkpoint", "c") == 130
    told = capsys.readouterr()
    assert "7 frames" in told.out
    assert "memotr: stopped\n" in told.err
    assert list(read_mot(Path("outputs/clip.txt"))) == list(range(1, 8))
    assert len(Path("outputs/clip.jsonl").read_text().splitlines()) == 7
    with open_source("outputs/clip.mp4") as video:
        assert len(list(video)) == 7
    assert sorted(file.name for file in Path("outputs").iterdir()) == ["clip.jsonl", "clip.mp4", "clip.txt"]


def test_unreadable_image_on_the_way(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names it; what was tracked before is kept; --skip-bad goes on and says how many were left out."""
    import cv2

    Path("walk").mkdir()
    for i in range(6):
        cv2.imwrite(f"walk/{i}.png", np.full((20, 30, 3), 9 * i, np.uint8))
    Path("walk/3.png").write_bytes(b"")
    assert call(monkeypatch, "walk", "--checkpoint", "c") == 2
    output = capsys.readouterr()
    assert output.err.splitlines()[-1] == (
        "memotr: cannot read image walk/3.png: it is damaged, cut short or not an image; copy it again, "
        "or skip such files with --skip-bad"
    )
    assert "3 frames" in output.out
    assert list(read_mot(Path("outputs/walk.txt"))) == [1, 2, 3]

    assert call(monkeypatch, "walk", "--checkpoint", "c", "--skip-bad") == 0
    output = capsys.readouterr()
    assert "memotr: warning: walk: 1 of 6 images could not be read (3.png)" in output.err
    assert list(read_mot(Path("outputs/walk.txt"))) == [1, 2, 3, 5, 6]


def test_truncated_video(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    video = numbered_video(Path("clip.mkv"), 200, codec="mjpeg", pix_fmt="yuvj420p")
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    assert call(monkeypatch, "clip.mkv", "--checkpoint", "c", "--no-video") == 0
    output = capsys.readouterr()
    assert "memotr: warning: clip.mkv is damaged or cut short: " in output.err
    assert int(output.out.split()[0]) == run.updates > 50


def whole_results(name: str, folder: str = "outputs") -> list[dict[str, Any]]:
    """The JSON lines of a source, after a look at whether all its files are whole and of the same frames."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = Path(folder, f"{name}.jsonl").read_text()
    assert text.endswith("\n")
    lines = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    assert list(read_mot(Path(folder, f"{name}.txt"))) == [line["frame"] + 1 for line in lines]
    with open_source(Path(folder, f"{name}.mp4")) as video:
        assert len(list(video)) == len(lines)
    assert not list(Path(folder).glob("*.part"))
    return lines


@pytest.mark.parametrize("length", ["none", "true"])
@pytest.mark.parametrize("name", ["clip.ts", "clip.mkv"])
def test_a_stream_that_breaks_off(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, length: str
) -> None:
    """What came is tracked and written, one note says where it ended, and the exit code that it was not all."""
    rng = np.random.default_rng(0)
    data = write_video(Path(name), [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(40)]).read_bytes()
    with serving(Answer(data, share=0.6, length=length)) as host:
        assert call(monkeypatch, f"http://user:s3cr3t@{host}/{name}?key=s3cr3t", "--checkpoint", "c") == 1
    output = capsys.readouterr()
    assert output.err.count("memotr: ") == 1
    assert f"memotr: warning: http://{host}/{name} broke off (the connection was closed): {run.updates} f" in output.err
    assert 20 <= run.updates < 26
    lines = whole_results("127.0.0.1_clip")
    assert len(lines) == run.updates
    assert [line["time"] for line in lines] == pytest.approx([i / 25 for i in range(len(lines))], abs=0.002)
    assert "s3cr3t" not in output.out + output.err


def test_a_whole_stream_of_unknown_length(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(numbered_video(Path("clip.ts"), 30)) as host:
        assert call(monkeypatch, f"http://{host}/clip.ts", "--checkpoint", "c") == 0
    assert "memotr: " not in capsys.readouterr().err
    assert len(whole_results("127.0.0.1_clip")) == run.updates == 30


PLACES = (
    ("{}", "--checkpoint", "c"),
    ("{}", "{}", "--checkpoint", "c"),
    ("clip.mp4", "--checkpoint", "c", "--output", "{}"),
    ("clip.mp4", "--checkpoint", "c", "--start", "{}"),
    ("clip.mp4", "--checkpoint", "c", "--{}"),
)


@pytest.mark.parametrize(
    ("address", "places"),
    [(address, PLACES[:1]) for address in WITH_CREDENTIALS] + [(address, PLACES) for address in WITH_CREDENTIALS[::9]],
)
def test_no_credentials_in_any_output(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
    places: tuple[tuple[str, ...], ...],
) -> None:
    """Whatever FFmpeg says to an address, in every place that takes one."""

    def refuse(file: str, *_: object, **__: object) -> None:
        raise av.error.OSError(5, "Input/output error", file, (16, "tcp", f"cannot reach {file}"))

    monkeypatch.setattr("av.open", refuse)
    for place in places:
        assert call(monkeypatch, *(word.format(address) for word in place)) == 2
        output = capsys.readouterr()
        assert SECRET not in output.out + output.err
        assert "memotr: " in output.err
        assert "Traceback" not in output.err
    assert not [path for path in Path().rglob("*") if SECRET in str(path)]


@pytest.mark.parametrize("option", ["--checkpoint", "--config"])
def test_no_credentials_of_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    numbered_video(Path("clip.mp4"), 2)
    address = f"https://user:{SECRET}@host/w.safetensors?token={SECRET}"
    given = {"--checkpoint": "tiny", option: address}
    assert call(monkeypatch, "clip.mp4", *(word for pair in given.items() for word in pair)) == 2
    assert SECRET not in capsys.readouterr().err


def test_an_address_of_an_unknown_scheme(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "ftp://user:pw@host/x", "--checkpoint", "c") == 2
    line = error_line(capsys)
    assert line.startswith("memotr: cannot open ftp://host/x: an address begins with one of http://, https://, ")
    assert call(monkeypatch, "HTTP://127.0.0.1:9/x", "--checkpoint", "c") == 2
    assert error_line(capsys) == "memotr: cannot open HTTP://127.0.0.1:9/x: Connection refused"


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    output = capsys.readouterr()
    assert output.out == ""
    *progress, line = output.err.splitlines()
    assert all("0/1" in shown for shown in progress)
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.mp4"], "memotr: no file or folder missing.mp4"),
        (["noise.mp4"], "memotr: cannot read noise.mp4: it is not a video"),
        (["empty"], "memotr: no image in empty"),
        (["cut.jpg", "--output", "empty"], "memotr: cannot read image cut.jpg: it is damaged"),
        (["clip.mp4", "--stride", "0"], "memotr: stride is 0"),
        (["clip.mp4", "--start", "9", "--end", "3"], "memotr: end is 3 and start 9"),
        (["clip.mp4", "--start", "3"], "memotr: clip has 3 frames, numbered from 0; start 3 is beyond the last one"),
        (["clip.mp4", "--device", "cuda:7"], "memotr: device cuda:7: not there"),
        (["clip.mp4", "--output", "."], "memotr: the annotated video would replace the source clip.mp4"),
        (["clip.mp4", "--output", "noise.mp4"], "memotr: cannot write noise.mp4/clip.txt: "),
        (["97"], "memotr: "),
        (["clip.mp4", "--fps", "10"], "memotr: clip.mp4 has time stamps of its own; --fps is for folders of images"),
    ],
)
def test_errors_are_one_line(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    numbered_video(Path("clip.mp4"), 3)
    Path("noise.mp4").write_bytes(b"noise" * 500)
    Path("empty").mkdir()
    Path("cut.jpg").write_bytes(b"noise")
    before = sorted(Path().rglob("*"))
    assert call(monkeypatch, *arguments, "--checkpoint", "c") == 2
    assert error_line(capsys).startswith(message)
    assert sorted(Path().rglob("*")) == before


def test_several_sources(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each into files of its own; one that fails on the way does not stop the next."""
    numbered_video(Path("a.mp4"), 3)
    numbered_video(Path("b.mp4"), 4)
    Path("cut").mkdir()
    Path("cut/1.jpg").write_bytes(b"noise")
    assert call(monkeypatch, "a.mp4", "b.mp4", "--checkpoint", "c") == 0
    assert "3 frames" in capsys.readouterr().out
    assert call(monkeypatch, "a.mp4", "cut", "b.mp4", "--checkpoint", "c", "--output", "second") == 2
    *_, failure, last = capsys.readouterr().err.splitlines()
    assert failure.startswith("memotr: cannot read image cut/1.jpg")
    assert last == "memotr: 1 of 3 sources could not be tracked to their end, see above"
    for folder in ("outputs", "second"):
        counts = {name: len(read_mot(Path(folder, f"{name}.txt"))) for name in "ab"}
        assert counts == {"a": 3, "b": 4}


def test_sources_of_one_name(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every writer uses the shortest end of the paths that tells them apart."""
    for folder, frames in (("a", 3), ("b", 4)):
        Path(folder).mkdir()
        numbered_video(Path(folder, "clip.mp4"), frames)
    assert call(monkeypatch, "a/clip.mp4", "b/clip.mp4", "--checkpoint", "c") == 0
    assert "wrote outputs/a_clip.txt, outputs/a_clip.jsonl, outputs/a_clip.mp4" in capsys.readouterr().out
    assert len(read_mot(Path("outputs/a_clip.txt"))) == 3
    assert len(Path("outputs/b_clip.jsonl").read_text().splitlines()) == 4
    with open_source(Path("outputs/b_clip.mp4")) as source:
        assert len(list(source)) == 4


def test_sound_is_kept_unless_it_is_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered_video(Path("a.mp4"), 30, audio=True)
    numbered_video(Path("b.mp4"), 30)
    heard = {}
    for name, options in (("kept", []), ("silent", ["--no-audio"]), ("part", ["--end", "20"])):
        assert call(monkeypatch, "a.mp4", "b.mp4", "--checkpoint", "c", "--output", name, *options) == 0
        for source in "ab":
            with av.open(f"{name}/{source}.mp4") as container:
                heard[name, source] = len(container.streams.audio)
    assert {key for key, count in heard.items() if count} == {("kept", "a")}


def test_sound_that_cannot_be_kept_is_noted(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numbered_video(Path("a.mp4"), 3, audio=True)
    monkeypatch.setattr("memotr.io.mp4.copy_with_sound", broken_copy)
    assert call(monkeypatch, "a.mp4", "--checkpoint", "c") == 0
    assert "memotr: warning: outputs/a.mp4 is without the sound of a.mp4: why" in capsys.readouterr().err.splitlines()


def broken_copy(*arguments: object) -> None:
    raise UserError("why")


def test_the_rate_of_images(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("frames").mkdir()
    for k in range(3):
        cv2.imwrite(f"frames/{k}.png", numbered(k, 24, 32))
    assert call(monkeypatch, "frames", "--checkpoint", "c", "--fps", "4") == 0
    lines = Path("outputs/frames.jsonl").read_text().splitlines()
    assert [json.loads(line)["time"] for line in lines] == [0, 0.25, 0.5]
    with open_source("outputs/frames.mp4") as video:
        assert video.fps == 4
        assert [frame.time for frame in video] == pytest.approx([0, 0.25, 0.5])


def test_the_stream_of_a_file(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    two_streams(Path("clip.mkv"), ("libx264", 5, 32), ("libx264", 9, 64))
    for arguments, size, frames in (([], 32, 5), (["--stream", "1"], 64, 9)):
        assert call(monkeypatch, "clip.mkv", "--checkpoint", "c", *arguments) == 0
        lines = [json.loads(line) for line in Path("outputs/clip.jsonl").read_text().splitlines()]
        assert [(line["width"], line["height"]) for line in lines] == [(size, size)] * frames
        assert ("several video streams" in capsys.readouterr().err) == (not arguments)
    assert call(monkeypatch, "clip.mkv", "--checkpoint", "c", "--stream", "7") == 2
    assert "no video stream 7 in clip.mkv; available are 0 (32 x 32), 1 (64 x 64)" in error_line(capsys)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["a.mp4", "missing.mp4"], "no file or folder missing.mp4"),
        (["a.mp4", "again/../a.mp4"], "again/../a.mp4 is given twice; give it once"),
        (
            ["1.png", "2.png"],
            "2 images of the folder . are given one by one, and each would be tracked as a separate video",
        ),
    ],
)
def test_all_sources_are_checked_before_tracking(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sources: list[str], message: str
) -> None:
    Path("again").mkdir()
    numbered_video(Path("a.mp4"), 3)
    for name in ("1.png", "2.png"):
        cv2.imwrite(name, numbered(1, 24, 32))
    assert call(monkeypatch, *sources, "--checkpoint", "c") == 2
    assert message in error_line(capsys)
    assert not Path("outputs").exists()


def test_a_bug_is_not_dressed_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered_video(Path("clip.mp4"), 5)
    run.raise_at[3] = RuntimeError("a bug")
    monkeypatch.setattr(sys, "argv", ["memotr", "track", "clip.mp4", "--checkpoint", "c"])
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()
    assert list(read_mot(Path("outputs/clip.txt"))) == [1, 2]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from memotr.cli import app; app(['track', '--help'], standalone_mode=False); print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--skip-bad" in result.stdout
    assert not {"torch", "av", "cv2", "numpy", "supervision"} & set(result.stdout.split())
