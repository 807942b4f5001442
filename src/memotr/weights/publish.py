"""Upload of trackers to the Hugging Face Hub and loading of published ones."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

import memotr
from memotr.errors import UserError, first_line, wrong_type
from memotr.models.memotr import MeMOTR
from memotr.weights.cache import is_offline
from memotr.weights.describe import in_short
from memotr.weights.hub import WEIGHTS, parse_address
from memotr.weights.model_files import load_model, save_model

CARD = "README.md"


def push_to_hub(
    model: MeMOTR,
    repo: str,
    *,
    licence: str | None = None,
    private: bool = False,
    epoch: int | None = None,
    token: str | None = None,
) -> str:
    """Publish a tracker in a repository of the Hugging Face Hub, and return the address for :func:`load_model`.

    The repository is created if it does not exist, and gets ``model.safetensors``, as :func:`save_model` writes it, and
    a model card unless it has one. Log in with ``hf auth login`` before, or pass a token.

    Args:
        model: model on any device.
        repo: ``owner/name``.
        licence: identifier of the licence for the card, such as ``apache-2.0``.
        private: create a private repository.
        epoch: number of trained epochs, for ``memotr info``.
        token: access token with write permission; None: the token of the login.

    Raises:
        UserError: the Hub refuses or cannot be reached, or ``MEMOTR_OFFLINE`` is set.
    """
    if not isinstance(model, MeMOTR):
        raise wrong_type("a model, which memotr.load_model returns", model)
    address = f"hf://{repo}"
    if parse_address(address).repo != repo:
        raise UserError(f"{repo}: expected OWNER/NAME")
    if is_offline():
        raise UserError(f"{address}: MEMOTR_OFFLINE is set; unset it to publish")
    if find_spec("huggingface_hub") is None:
        raise UserError(f"{address}: huggingface_hub is required but not installed: pip install 'memotr[hub]'")
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with TemporaryDirectory() as folder:
        save_model(model, Path(folder, WEIGHTS), epoch=epoch)
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            if not api.file_exists(repo, CARD):
                Path(folder, CARD).write_text(model_card(model, repo, licence), encoding="utf-8")
            api.upload_folder(
                repo_id=repo, folder_path=folder, commit_message=f"Upload with memotr {memotr.__version__}"
            )
        except Exception as error:  # its error classes have no common base
            raise UserError(f"{address}: the Hugging Face Hub refused: {first_line(error)}") from error
    return address


def from_pretrained(repo: str, **options: Any) -> MeMOTR:
    """Load a tracker from the Hugging Face Hub, as :func:`push_to_hub` publishes it.

    Args:
        repo: ``owner/name``, or ``owner/name@revision``.
        options: further arguments of :func:`memotr.load_model`.

    Raises:
        UserError: as for :func:`memotr.load_model`.
    """
    return load_model("hf://" + repo.removeprefix("hf://"), **options)


def model_card(model: MeMOTR, repo: str, licence: str | None = None) -> str:
    """Return a model card in Markdown: description, training data and usage of the tracker."""
    head = {"library_name": "memotr", "tags": ["multi-object-tracking", "memotr"]} | (
        {"license": licence} if licence else {}
    )
    facts = "\n".join(f"| {topic} | {text.replace('|', '/')} |" for topic, text in in_short(model.config).items())
    return f"""---
{yaml.safe_dump(head, sort_keys=False)}---

# {repo.partition("/")[2]}

A multi-object tracker, MeMOTR ([arXiv 2307.15700](https://arxiv.org/abs/2307.15700)), for the Python package memotr.

| | |
|---|---|
{facts}

```python
from memotr import Tracker, load_model

tracker = Tracker(load_model("hf://{repo}"))
for tracks in tracker.track("video.mp4"):
    print(tracks.frame, tracks.ids, tracks.boxes)
```

```bash
memotr track video.mp4 --checkpoint hf://{repo}
```
"""
