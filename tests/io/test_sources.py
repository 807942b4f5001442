"""What a source's name is taken for, and what is said when it is nothing."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from memotr.errors import UserError
from memotr.io import camera
from memotr.io.frames import Selection
from memotr.io.sources import open_source
from tests.io.videos import number_of, numbered_video


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_http_address(tmp_path: Path, server: str) -> None:
    numbered_video(tmp_path / "clip 1.mp4", 6)
    with open_source(f"http://user:secret@{server}/clip%201.mp4?key=secret", max_frames=4) as source:
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2, 3]
    assert source.kind == "stream"
    assert source.name == "127.0.0.1_clip_1"


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_an_unreachable_address_is_refused(scheme: str) -> None:
    """The message does not tell the password."""
    with pytest.raises(UserError, match=rf"^cannot open {scheme}://127\.0\.0\.1:9/x: ") as error:
        open_source(f"{scheme}://user:secret@127.0.0.1:9/x?key=secret")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["http://[::1/x", "a" * 5000])
def test_names_that_nothing_can_have(name: str) -> None:
    with pytest.raises(UserError, match="cannot open"):
        open_source(name)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file or folder .*nothing\.mp4"):
        open_source(tmp_path / "nothing.mp4")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"stride": 0}, "stride is 0"),
        ({"start": -1}, "start is -1"),
        ({"max_frames": 0}, "max-frames is 0"),
        ({"start": 5, "end": 5}, "end is 5 and start 5"),
        ({"start": 5, "end": 2}, "end is 2 and start 5"),
    ],
)
def test_empty_choices(choice: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source("never looked at", **choice)  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", [{}, {"end": 17}, {"max_frames": 4}, {"end": 9, "max_frames": 2}])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("start", [0, 2])
def test_selection_against_slicing(start: int, stride: int, stop: dict[str, int]) -> None:
    selection = Selection(start, stop.get("end"), stride, stop.get("max_frames"))
    expected = list(range(30))[start : stop.get("end") : stride][: stop.get("max_frames")]
    assert list(selection.indices(30)) == expected
    assert [index for index in range(30) if index in selection] == expected
    assert not any(selection.passed(index) for index in range(expected[-1] + 1))
    assert not stop or selection.passed(expected[-1] + stride)
    assert "max_frames" not in stop or selection.stop == expected[-1] + 1, "no frame is read in vain"


def test_a_folder_with_the_name_of_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numbered_video(tmp_path / "clip.mp4", 2).rename(tmp_path / "0")
    with open_source("0") as source:
        assert source.kind == "video"


def test_only_images_take_a_rate(tmp_path: Path) -> None:
    video = numbered_video(tmp_path / "clip.mp4", 2)
    for source in (video, "97", "rtsp://127.0.0.1:9/x", "http://127.0.0.1:9/x"):
        with pytest.raises(UserError, match=r"has time stamps of its own; --fps is for folders of images"):
            open_source(source, fps=10)
    with pytest.raises(UserError, match=r"^no file or folder .*none\.mp4; it is not a camera number"):
        open_source(tmp_path / "none.mp4", fps=10)


def test_camera_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"^(cannot open|there is no|no permission to use) camera 97"):
        open_source("97")


def test_cameras_of_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_cameras", lambda driver: ["Front", "Back"] if driver == "dshow" else [])
    assert camera.camera_device(1, "linux") == camera.Device("/dev/video1", "v4l2")
    assert camera.camera_device(1, "win32") == camera.Device("video=Back", "dshow")
    assert camera.camera_device(1, "darwin").driver == "avfoundation"
    with pytest.raises(UserError, match="camera 2 does not exist; available are Front, Back"):
        camera.camera_device(2, "win32")
    with pytest.raises(UserError, match="cannot be opened on aix"):
        camera.camera_device(0, "aix")


def test_driver_that_this_build_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "camera_device", lambda number: camera.Device("0:none", "no_such_driver"))
    with pytest.raises(UserError, match="made without no_such_driver"):
        camera.open_camera(0)
