"""A cache of its own for each test, a local server, and weights that are fetched from it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from memotr.build import build_model
from memotr.config import load_config
from memotr.weights import transfer
from memotr.weights.kinds import Kind
from memotr.weights.published_names import published_state
from memotr.weights.registry import NamedWeights, named_weights
from tests.weights.server import Site, serving

Named = Callable[..., NamedWeights]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MEMOTR_HOME", str(folder))
    monkeypatch.delenv("MEMOTR_OFFLINE", raising=False)
    monkeypatch.setattr(transfer, "RETRIES", 0)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        yield running


def checkpoint_bytes(preset: str = "tiny", seed: int = 0, **changes: Any) -> bytes:
    """Content of a checkpoint as the authors' code writes it."""
    torch.manual_seed(seed)
    state = published_state(build_model(load_config(preset, [f"{key}={value}" for key, value in changes.items()])))
    stream = io.BytesIO()
    torch.save({"model": state}, stream)
    return stream.getvalue()


@pytest.fixture(scope="session")
def content() -> bytes:
    return checkpoint_bytes()


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, site: Site) -> Named:
    """Enter weights called ``small``, which are fetched from the site, into the registry."""

    def enter(*places: str, **values: Any) -> NamedWeights:
        given = {
            "kind": Kind.TRACKER,
            "preset": "tiny",
            "file": "small.pth",
            "places": places or (f"{site.address}/w",),
        }
        texts = dict.fromkeys(("trained_on", "good_for", "licence", "source"), "tests")
        entry = NamedWeights("small", **(given | texts | values))
        monkeypatch.setitem(named_weights(), "small", entry)  # type: ignore[arg-type]
        return entry

    return enter
