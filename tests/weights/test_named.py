"""Weights by name: fetched once, checked at each use, and refused if they are anything else."""

from __future__ import annotations

import hashlib
import io
import json
import random
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import torch

from memotr.config import load_config
from memotr.errors import UserError
from memotr.training.train import start_model
from memotr.weights import transfer
from memotr.weights.cache import digest_of
from memotr.weights.cache import home as home_of_weights
from memotr.weights.describe import describe
from memotr.weights.kinds import Kind
from memotr.weights.manifest import manifest_of
from memotr.weights.model_files import load_model
from memotr.weights.named import clear, weights_file
from memotr.weights.pretrained import tracker_names
from memotr.weights.published_names import published_state
from memotr.weights.registry import named_weights
from tests.evaluation.test_commands import Command, memotr  # noqa: F401 (a fixture)
from tests.parity.harness import FOLDER
from tests.test_weights import detector_state
from tests.weights.conftest import Named, checkpoint_bytes
from tests.weights.server import Reply, Site

pytest.importorskip("gdown")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_in(home: Path) -> set[str]:
    return {file.name for file in (home / "weights" / "small").iterdir()} - {".lock"}


# Transfers that succeed


def test_fetched_once(named: Named, site: Site, content: bytes, home: Path, recwarn: pytest.WarningsRecorder) -> None:
    named()
    site.put("/w", Reply(content))
    model = load_model("small", device="cpu")
    state = published_state(model)
    assert all(torch.equal(state[name], tensor) for name, tensor in torch.load(io.BytesIO(content))["model"].items())
    assert model.config == load_config("tiny")
    assert not recwarn.list  # nothing is guessed: the preset's settings lie beside the file
    file = home / "weights" / "small" / "small.pth"
    assert file.read_bytes() == content
    record = json.loads((file.parent / "fetched.json").read_text())
    assert (record["name"], record["sha256"], record["size"]) == ("small", sha256(content), len(content))
    assert files_in(home) == {"small.pth", "small.yaml", "fetched.json"}
    site.replies.clear()
    assert weights_file("small") == weights_file(Path("small")) == file
    assert load_model(file).config == load_config("tiny")
    assert len(site.requests) == 1


def test_redirected(named: Named, site: Site, content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cookies of a browser and of earlier downloads stay at home."""
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tsession\tsecret\n")
    monkeypatch.setattr(sys.modules["gdown.download"], "DEFAULT_COOKIES_FILE", str(cookies))
    named()
    site.put("/w", Reply(status=302, headers={"Location": "/elsewhere", "Set-Cookie": "a=b; Path=/nowhere"}))
    site.put("/elsewhere", Reply(content))
    assert weights_file("small").read_bytes() == content
    assert [path for path, _ in site.requests] == ["/w", "/elsewhere"]
    assert not any({"Cookie", "Authorization"} & headers.keys() for _, headers in site.requests)


def test_broken_off_and_continued(named: Named, site: Site, content: bytes, home: Path) -> None:
    named()
    site.put("/w", Reply(content, cut=1_000_000), Reply(content))
    with pytest.raises(UserError, match=r"127\.0\.0\.1 did not send the file: .*; download http://127.* --file FILE"):
        weights_file("small")
    assert len(files_in(home)) == 1  # the beginning
    assert weights_file("small").read_bytes() == content
    assert "Range" not in site.requests[0][1]
    assert site.requests[-1][1]["Range"] == "bytes=524288-"
    assert files_in(home) == {"small.pth", "small.yaml", "fetched.json"}


def test_broken_off_and_tried_again(named: Named, site: Site, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "RETRIES", 2)
    monkeypatch.setattr(random, "uniform", lambda *_: 0.0)  # the pause before another try
    named()
    site.put("/w", Reply(content, cut=1_000_000), Reply(content, cut=2_000_000), Reply(content))
    assert weights_file("small").read_bytes() == content
    assert [headers.get("Range") for _, headers in site.requests] == [None, "bytes=524288-", "bytes=1572864-"]


def test_a_server_that_always_sends_the_whole(named: Named, site: Site, content: bytes) -> None:
    named()
    site.put("/w", Reply(content, cut=1_000_000), Reply(content, ranges=False))
    with pytest.raises(UserError):
        weights_file("small")
    assert weights_file("small").read_bytes() == content


def test_the_second_place(named: Named, site: Site, content: bytes) -> None:
    named(site.put("/gone", Reply(status=404)), site.put("/w", Reply(content)))
    assert weights_file("small").read_bytes() == content


def test_two_at_once(named: Named, site: Site, content: bytes, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """The second waits for the first, and fetches nothing."""
    waiting, found = threading.Event(), []
    monkeypatch.setattr("memotr.weights.cache.log", lambda line: waiting.set() if "waiting" in line else None)
    named()
    second = threading.Thread(target=lambda: found.append(weights_file("small")))

    def begin_second() -> None:
        second.start()
        assert waiting.wait(30)

    site.put("/w", Reply(content, before=begin_second))
    first = weights_file("small")
    second.join(30)
    assert found == [first]
    assert len(site.requests) == 1


# Google Drive


FORM = (
    '<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
    '<input type="hidden" name="id" value="ID"><input type="hidden" name="confirm" value="t"></form>'
)
QUOTA = """<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>"""


@pytest.fixture
def drive(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Send what goes to Google to the local site."""
    send = requests.adapters.HTTPAdapter.send

    def send_here(self: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        here = request.copy()
        here.url = request.url.replace("https://", f"{site.address}/")  # type: ignore[union-attr]
        reply = send(self, here if ".google.com/" in request.url else request, **options)  # type: ignore[operator]
        reply.url = request.url  # type: ignore[assignment]
        return reply

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send_here)
    return site


HTML = {"Content-Type": "text/html; charset=utf-8"}
ATTACHED = {"Content-Type": "application/octet-stream", "Content-Disposition": 'attachment; filename="x.pth"'}


def test_google_drive_asks_for_confirmation(named: Named, drive: Site, content: bytes) -> None:
    named("gdrive://ID")
    drive.put("/drive.google.com/uc", Reply(FORM.encode(), headers=HTML))
    drive.put("/drive.usercontent.google.com/download", Reply(content, headers=ATTACHED))
    assert weights_file("small").read_bytes() == content
    assert [path for path, _ in drive.requests] == [
        "/drive.google.com/uc?id=ID",
        "/drive.usercontent.google.com/download?id=ID&confirm=t",
    ]


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/w", "http://nowhere.invalid/w"])
def test_without_a_connection(named: Named, place: str) -> None:
    named(place)
    with pytest.raises(UserError) as error:
        weights_file("small")
    host = place.split("/")[2].partition(":")[0]
    assert str(error.value) == (
        f"small: {host} cannot be reached (is there a connection to the internet?); download {place} in a browser and "
        "pass it: memotr weights fetch small --file FILE"
    )


def test_google_drives_quota(named: Named, drive: Site, home: Path) -> None:
    named("gdrive://ID")
    drive.put("/drive.google.com/uc", Reply(QUOTA.encode(), headers=HTML))
    with pytest.raises(UserError) as error:
        weights_file("small")
    assert str(error.value).startswith(
        "small: drive.google.com did not send the file: Failed to retrieve file url: Too"
    )
    assert str(error.value).endswith(
        "; download https://drive.google.com/uc?id=ID in a browser and pass it: memotr weights fetch small --file FILE"
    )
    assert "\n" not in str(error.value)
    assert files_in(home) == set()


def test_google_drive_without_a_header(named: Named, drive: Site) -> None:
    named("gdrive://ID")
    drive.put("/drive.google.com/uc", Reply(b"?"))
    with pytest.raises(UserError, match="did not send the file"):
        weights_file("small")


# Files that are not the right ones


def pickled(_content: bytes) -> bytes:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("run",)

    stream = io.BytesIO()
    torch.save({"model": Evil()}, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (lambda content: QUOTA.encode(), "is a web page, not a checkpoint"),
        (lambda content: b"", "is empty"),
        (lambda content: content[:-1000], "ends too early"),
        (lambda content: b"\x80" * 10_000, "not readable as a PyTorch checkpoint"),
        (pickled, "refused, because besides tensors it contains"),
        (
            lambda content: checkpoint_bytes(**{"model.num_queries": 99}),
            r"does not fit the preset tiny in 2 tensors, such as det_anchor: \(99, 4\), expected \(100, 4\)",
        ),
        (
            lambda content: checkpoint_bytes(**{"model.num_decoder_layers": 2}),
            r"does not fit the preset tiny in 30 tensors, such as bbox_embed\.2.*: missing, expected",
        ),
    ],
    ids=["page", "empty", "short", "other", "code", "shapes", "names"],
)
def test_refused(
    sent: Any, reason: str, named: Named, site: Site, content: bytes, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named()
    site.put("/w", Reply(sent(content)))
    with pytest.raises(UserError, match=rf"^small: the file from 127\.0\.0\.1 {reason}"):
        weights_file("small")
    assert files_in(home) == set()
    assert "run" not in capsys.readouterr().out
    site.put("/w", Reply(content))  # the refused file leaves no trace
    assert weights_file("small").read_bytes() == content


def test_another_kind(named: Named, site: Site, content: bytes) -> None:
    named(kind=Kind.DETECTOR)
    site.put("/w", Reply(content))
    with pytest.raises(UserError, match="is a tracker, not a detector"):
        weights_file("small")


def test_a_known_hash(named: Named, site: Site, content: bytes, home: Path) -> None:
    other = checkpoint_bytes(seed=1)  # fits the manifest, too
    named(sha256=sha256(content), size=len(content))
    site.put("/w", Reply(other))
    with pytest.raises(UserError, match=f"has the SHA-256 {sha256(other)}, not {sha256(content)}"):
        weights_file("small")
    assert files_in(home) == set()
    site.put("/w", Reply(QUOTA.encode()))
    with pytest.raises(UserError, match=r"the file from 127\.0\.0\.1 is a web page, not a checkpoint"):
        weights_file("small")
    site.put("/w", Reply(content))
    assert weights_file("small").read_bytes() == content


def test_too_large(named: Named, site: Site, content: bytes, home: Path) -> None:
    named(size=1000)
    site.put("/w", Reply(content))
    with pytest.raises(UserError, match=r"offers more than 1,000 bytes"):
        weights_file("small")
    assert files_in(home) == set()


def test_changed_in_the_cache(named: Named, site: Site, content: bytes) -> None:
    named()
    site.put("/w", Reply(content))
    file = weights_file("small")
    file.write_bytes(checkpoint_bytes(seed=1))
    with pytest.raises(
        UserError, match=r"small\.pth: has the SHA-256 .*; `memotr weights clear small` removes it, and"
    ):
        load_model("small")
    assert len(site.requests) == 1


def test_replaced_by_its_authors(named: Named, site: Site, content: bytes, home: Path) -> None:
    """The hash of the first file outlives the file."""
    entry = named()
    site.put("/w", Reply(content))
    weights_file("small")
    assert clear(entry) > len(content)
    assert files_in(home) == {"fetched.json"}
    site.put("/w", Reply(checkpoint_bytes(seed=1)))
    record = home / "weights" / "small" / "fetched.json"
    with pytest.raises(UserError, match=f"not {sha256(content)} like the file fetched on .*remove {record}"):
        weights_file("small")
    record.unlink()
    assert weights_file("small").read_bytes() == checkpoint_bytes(seed=1)


def test_a_damaged_record(named: Named, site: Site, content: bytes, home: Path) -> None:
    named()
    site.put("/w", Reply(content))
    weights_file("small")
    for text in ("{", "[]", "{}"):
        (home / "weights" / "small" / "fetched.json").write_text(text)
        with pytest.raises(UserError, match=r"fetched\.json.*remove it to record"):
            weights_file("small")


# Without a transfer


def test_offline(named: Named, site: Site, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    named()
    site.put("/w", Reply(content))
    monkeypatch.setenv("MEMOTR_OFFLINE", "1")
    with pytest.raises(
        UserError, match=r"small: not fetched yet, and MEMOTR_OFFLINE is set; unset it, or download http"
    ):
        weights_file("small")
    assert not site.requests
    monkeypatch.setenv("MEMOTR_OFFLINE", "0")
    file = weights_file("small")
    monkeypatch.setenv("MEMOTR_OFFLINE", "1")
    assert weights_file("small") == file


def test_without_gdown(named: Named, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "find_spec", lambda name: None)
    named()
    with pytest.raises(UserError, match=r"pip install 'memotr\[hub\]'"):
        weights_file("small")
    assert not site.requests


def test_a_file_from_elsewhere(
    named: Named,
    site: Site,
    content: bytes,
    home: Path,
    memotr: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    named()
    wrong, right = tmp_path / "wrong.pth", tmp_path / "right.pth"
    wrong.write_bytes(b"<html>")
    right.write_bytes(content)
    code, _, errors = memotr("weights", "fetch", "small", "--file", wrong)
    assert (code, errors) == (
        2,
        f"memotr: {wrong}: is a web page, not a checkpoint: the link leads to a login or "
        "confirmation page; download it in a browser\n",
    )
    code, _, errors = memotr("weights", "fetch", "small", "--file", tmp_path / "gone.pth")
    assert (code, errors) == (2, f"memotr: {tmp_path / 'gone.pth'}: no such file\n")
    code, out, _ = memotr("weights", "fetch", "small", "--file", right)
    assert (code, out) == (0, f"{home / 'weights' / 'small' / 'small.pth'}\n")
    assert weights_file("small").read_bytes() == content
    assert right.is_file()
    assert not site.requests
    assert memotr("weights", "fetch", "synthdance", "--file", right)[0] == 2


# Names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "dancetrak",
            "dancetrak: no such file, and no weights have this name; did you mean 'dancetrack'?; weights are ",
        ),
        ("DanceTrack", "did you mean 'dancetrack'?"),
        ("https://me:pw@host/a.pth", "https://host/a.pth: is an address; download the file, and pass its path"),
        ("tiny", "tiny: is a preset for `memotr train tiny`, without weights; weights are dancetrack, mot17, "),
        (
            "zzz",
            "zzz: no such file, and no weights have this name; weights are dancetrack, mot17, dab-deformable-detr, ",
        ),
    ],
)
def test_unknown_names(given: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_model(given)
    assert message in str(error.value)
    assert "sportsmot" not in str(error.value)  # a preset without weights


def test_a_file_of_that_name_goes_first(content: bytes, named: Named) -> None:
    named()
    Path("small").write_bytes(content)
    assert weights_file("small") == Path("small")


def test_a_folder_of_that_name(content: bytes, named: Named, site: Site) -> None:
    """A folder of pictures is no reason to refuse a name, one of checkpoints is."""
    named()
    site.put("/w", Reply(content))
    Path("small").mkdir()
    assert weights_file("small").name == "small.pth"
    (Path("small") / "last.safetensors").touch()
    with pytest.raises(UserError, match="small: is both a name of weights and a folder with weights; pass the file"):
        weights_file("small")


def test_commands(named: Named, site: Site, content: bytes, home: Path, memotr: Command) -> None:  # noqa: F811
    named()
    site.put("/w", Reply(content))
    file = home / "weights" / "small" / "small.pth"
    assert memotr("weights", "where") == (0, f"{home}\n", "")
    assert memotr("weights", "where", "small")[2] == "memotr: small: not fetched; run `memotr weights fetch small`\n"
    assert "small: tracker; tests; trained on tests; not fetched" in memotr("weights", "list")[1]
    assert describe("small")["file"] == "small (not fetched)"
    code, out, errors = memotr("weights", "fetch", "small")
    assert (code, out, errors) == (0, f"{file}\n", f"fetching small from 127.0.0.1 to {file}\n")
    assert memotr("weights", "fetch", "small") == (0, f"{file}\n", "")
    assert memotr("weights", "where", "small") == (0, f"{file}\n", "")
    assert "small: tracker; tests; trained on tests; fetched" in memotr("weights", "list")[1]
    assert describe("small")["file"] == f"small ({file})"
    assert describe("small")["use"] == "memotr track SOURCE --checkpoint small"
    code, out, _ = memotr("weights", "clear", "small")
    assert (code, out, file.exists()) == (0, f"removed {len(content) / 1e6:.1f} MB\n", False)
    assert memotr("weights", "clear")[:2] == (0, "removed 0.0 MB\n")
    assert memotr("weights", "clear", "smal")[0] == 2
    assert memotr("weights", "where", "synthdance")[1].endswith("presets/synthdance.safetensors\n")


def test_the_cache_of_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEMOTR_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home_of_weights().name == "memotr"


# The registry


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        ("dancetrack", "dancetrack_dab"),
        ("mot17", "dancetrack_dab"),
        ("dab-deformable-detr", "pretrained_dab_deformable_detr"),
    ],
)
def test_manifests(name: str, manifest: str) -> None:
    """What a file is held against are the names and shapes of the published checkpoints."""
    content = json.loads((FOLDER / f"manifest_{manifest}.json").read_text())
    shapes = content.get("state_dict", content)
    if name == "dab-deformable-detr":
        shapes = tracker_names(shapes)
    wanted = {
        key: tuple(shape) for key, shape in shapes.items() if not key.startswith("transformer.decoder.bbox_embed.")
    }
    assert manifest_of(named_weights()[name]) == wanted


def test_a_detector(named: Named, site: Site) -> None:
    """In its official layout, by name, as the beginning of a training."""
    model = load_config("tiny").model.model_dump(exclude={"variant"})
    stream = io.BytesIO()
    torch.save({"model": detector_state(**model)}, stream)
    named(kind=Kind.DETECTOR)
    site.put("/w", Reply(stream.getvalue()))
    _, report = start_model(load_config("tiny"), Path("small"))
    assert "a COCO detector (DAB-Deformable-DETR, 91 classes)" in report
    assert describe("small")["use"] == "memotr train ... --pretrained small"
    with pytest.raises(
        UserError, match=r"not a tracker; to train from it use `memotr train \.\.\. --pretrained small`"
    ):
        load_model("small")
    with pytest.raises(UserError, match="dab-deformable-detr: is a detector, not a tracker"):  # nor is it fetched
        load_model("dab-deformable-detr")


def test_entries() -> None:
    for entry in named_weights().values():
        assert load_config(entry.preset)
        assert entry.places or digest_of(weights_file(entry.name)) == entry.sha256
