"""Weights on the Hugging Face Hub: its own library against a server that answers as the Hub does."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from memotr import from_pretrained, load_model, push_to_hub
from memotr.errors import UserError
from memotr.weights import hub
from memotr.weights.describe import describe
from memotr.weights.hub import HubAddress, parse_address
from memotr.weights.huggingface import to_huggingface
from memotr.weights.model_files import save_model
from memotr.weights.named import weights_file
from memotr.weights.published_names import published_state
from tests.builders import tiny_model
from tests.test_weights import detector_state
from tests.weights.conftest import Named

constants = pytest.importorskip("huggingface_hub.constants")

RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


def commit_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(b"".join(files[name] for name in sorted(files))).hexdigest()


class Hub:
    """Repositories in memory.

    Attributes:
        repos: name → file → content.
        elsewhere: address of another host, to which requests for files are sent on; empty for none.
        requests: method, path and Authorization of every request.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.elsewhere = ""
        self.requests: list[tuple[str, str, str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return None

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.hub.requests.append((self.command, self.path, self.headers.get("Authorization")))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, content: Any, status: int = 200) -> None:
        self.answer(json.dumps(content).encode(), status, Content_Type="application/json")

    def do_GET(self) -> None:
        found = RESOLVE.fullmatch(self.path)
        if found is None:
            repo = re.match(r"/api/models/([^/]+/[^/]+)", self.path)
            there = repo is not None and repo[1] in self.hub.repos
            return self.answer_json({"id": repo and repo[1]}, 200 if there else 404)
        files = self.hub.repos.get(found[1])
        if files is None:
            return self.answer(b"", 404, X_Error_Code="RepoNotFound")
        if found[3] not in files:
            return self.answer(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit_of(files))
        content = files[found[3]]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if self.hub.elsewhere and self.headers["Host"].startswith("127.0.0.1"):
            size = {
                "X_Linked_Size": str(len(content)),
                "X_Linked_ETag": etag,
                "Location": self.hub.elsewhere + self.path,
            }
            return self.answer(b"", 302, X_Repo_Commit=commit_of(files), **size)
        self.answer(content, X_Repo_Commit=commit_of(files), ETag=etag)
        return None

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            request = json.loads(body)
            repo = f"{request['organization']}/{request['name']}" if request.get("organization") else request["name"]
            self.hub.repos.setdefault(repo, {})
            return self.answer_json({"url": f"{constants.ENDPOINT}/{repo}"})
        if self.path == "/api/validate-yaml":  # the head of a card
            return self.answer_json({"errors": [], "warnings": []})
        repo, what = re.match(r"/api/models/([^/]+/[^/]+)/(\w+)/main", self.path).groups()  # type: ignore[union-attr]
        if what == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            plain = [{"path": path, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for path in files]
            return self.answer_json({"files": plain})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.hub.repos[repo][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        commit = commit_of(self.hub.repos[repo])
        address = f"{constants.ENDPOINT}/{repo}/commit/{commit}"
        self.answer_json({"success": True, "commitOid": commit, "commitUrl": address})
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    running = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": running})) as http:
        http.daemon_threads = True
        address = f"http://127.0.0.1:{http.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield running
        http.shutdown()
        thread.join()


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = published_state(one), published_state(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_published_and_loaded(server: Hub, home: Path) -> None:
    model = tiny_model(classes=2)
    assert push_to_hub(model, "me/dancers", licence="apache-2.0", token="hf_secret", epoch=3) == "hf://me/dancers"
    assert server.repos["me/dancers"].keys() == {"model.safetensors", "README.md"}
    assert {token for method, _, token in server.requests if method == "POST"} == {"Bearer hf_secret"}
    loaded = from_pretrained("me/dancers", device="cpu")
    assert same_weights(loaded, model)
    assert loaded.config == model.config
    assert describe("hf://me/dancers")["trained"] == "3 epochs"
    assert {path.name for path in home.iterdir()} == {"hub"}


def test_card(server: Hub) -> None:
    push_to_hub(tiny_model(classes=2), "me/dancers", licence="apache-2.0")
    card = server.repos["me/dancers"]["README.md"].decode()
    assert card.startswith("---\nlibrary_name: memotr\n")
    assert "license: apache-2.0\n" in card
    assert "| classes | 2: class 0, class 1 |" in card
    assert 'load_model("hf://me/dancers")' in card
    server.repos["me/dancers"]["README.md"] = b"mine"
    push_to_hub(tiny_model(), "me/dancers")  # a card that is there is its owner's
    assert server.repos["me/dancers"]["README.md"] == b"mine"


def bytes_of(model: torch.nn.Module, folder: Path) -> bytes:
    save_model(model, folder / "saved.safetensors")
    return (folder / "saved.safetensors").read_bytes()


def test_a_changed_repository(server: Hub, tmp_path: Path) -> None:
    """The newest file counts, and without the Hub the one that is here."""
    for seed in (0, 1):
        model = tiny_model(seed=seed)
        server.repos["me/dancers"] = {"model.safetensors": bytes_of(model, tmp_path)}
        assert same_weights(load_model("hf://me/dancers"), model)


def test_sent_on_to_another_host(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's token is for the Hub alone."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.elsewhere = constants.ENDPOINT.replace("127.0.0.1", "localhost")
    model = tiny_model()
    server.repos["me/dancers"] = {"model.safetensors": bytes_of(model, tmp_path)}
    assert same_weights(load_model("hf://me/dancers"), model)
    tokens = [token for method, path, token in server.requests if "safetensors" in path]
    assert tokens[0] == "Bearer hf_secret"
    assert tokens[-1] is None


def test_offline(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    server.repos["me/dancers"] = {"model.safetensors": bytes_of(model, tmp_path)}
    monkeypatch.setenv("MEMOTR_OFFLINE", "1")
    with pytest.raises(UserError, match=r"hf://me/dancers: model\.safetensors is not in the cache, and MEMOTR_OFFLINE"):
        load_model("hf://me/dancers")
    with pytest.raises(UserError, match="MEMOTR_OFFLINE is set; unset it to publish"):
        push_to_hub(model, "me/dancers")
    assert not server.requests
    monkeypatch.delenv("MEMOTR_OFFLINE")
    load_model("hf://me/dancers")
    monkeypatch.setenv("MEMOTR_OFFLINE", "1")
    count = len(server.requests)
    assert same_weights(load_model("hf://me/dancers"), model)
    assert len(server.requests) == count


def test_another_file_and_a_pathlib_path(server: Hub, tmp_path: Path) -> None:
    model = tiny_model()
    server.repos["me/dancers"] = {"epochs/last.safetensors": bytes_of(model, tmp_path)}
    assert same_weights(load_model(Path("hf://me/dancers/epochs/last.safetensors")), model)


def test_a_detector_of_transformers(server: Hub) -> None:
    state = to_huggingface(detector_state(variant="deformable-detr"))
    settings = {"model_type": "deformable_detr", "decoder_layers": 2}
    content = save({name: tensor.clone() for name, tensor in state.items()})
    server.repos["them/detector"] = {"model.safetensors": content, "config.json": json.dumps(settings).encode()}
    assert "Hugging Face transformers" in describe("hf://them/detector")["layout"]


def test_missing_repositories_and_files_are_refused(server: Hub) -> None:
    with pytest.raises(
        UserError, match=r"hf://me/nothing: the Hugging Face Hub did not send model\.safetensors: .*404"
    ):
        load_model("hf://me/nothing")
    server.repos["me/empty"] = {}
    with pytest.raises(UserError, match=r"hf://me/empty: the Hugging Face Hub did not send model\.safetensors"):
        load_model("hf://me/empty")


def test_too_large(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.repos["me/dancers"] = {"model.safetensors": bytes_of(tiny_model(), tmp_path)}
    with pytest.raises(UserError, match=r"hf://me/dancers: model\.safetensors has [\d,]+ bytes, more than 1,000"):
        hub.hub_file("hf://me/dancers", largest=1000)
    assert not [path for method, path, _ in server.requests if method == "GET" and "safetensors" in path]


def test_not_weights(server: Hub) -> None:
    server.repos["me/page"] = {"model.safetensors": b"<html>"}
    with pytest.raises(UserError, match="is a web page, not a checkpoint"):
        load_model("hf://me/page")


def test_fetched_by_name(server: Hub, named: Named, content: bytes) -> None:
    server.repos["me/small"] = {"small.pth": content}
    named("hf://me/small/small.pth")
    assert weights_file("small").read_bytes() == content


def test_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"huggingface_hub is required but not installed: pip install 'memotr\[hub\]'"):
        load_model("hf://me/dancers")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://a/b", HubAddress("a/b", None, "model.safetensors")),
        ("hf:/a/b", HubAddress("a/b", None, "model.safetensors")),
        ("hf://a/b.c-d@v1.0", HubAddress("a/b.c-d", "v1.0", "model.safetensors")),
        ("hf://a/b@main/sub/x.pth", HubAddress("a/b", "main", "sub/x.pth")),
    ],
)
def test_addresses(text: str, address: HubAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["hf://", "hf://a", "hf://a/", "hf://a/b/../../c", "hf://a b/c", "hf://user:pw@a/b"])
def test_malformed_addresses(text: str) -> None:
    for given in (text, text.replace("//", "/")):  # as a pathlib.Path has it
        with pytest.raises(UserError, match=r"^hf://.*: expected hf://OWNER/NAME"):
            load_model(given)
    with pytest.raises(UserError, match="expected"):
        push_to_hub(tiny_model(), text.removeprefix("hf://"))
