"""Download of weights from the Hugging Face Hub by addresses such as ``hf://owner/name``."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from memotr.errors import UserError, first_line
from memotr.weights.cache import home, is_offline

CONFIG = "config.json"  # name of the file that describes the network, on the Hub and in folders
HUB = "hub"
"""Folder of the cache that huggingface_hub manages."""

WEIGHTS = "model.safetensors"
MAX_BYTES = 8 * 10**9
"""Largest size in bytes of a file to fetch."""

# One slash if an address was converted to a pathlib.Path.
ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<file>[\w./-]+))?")


class HubAddress(NamedTuple):
    """Repository, revision (branch, tag or commit) and file of a ``hf://owner/name[@revision][/file]``."""

    repo: str
    revision: str | None
    file: str


def is_hub_address(text: str) -> bool:
    """Return whether a text is an address on the Hub, valid or not."""
    return text.startswith("hf:/")


def parse_address(text: str) -> HubAddress:
    """Return the parts of an address. Raises UserError if it is malformed."""
    found = ADDRESS.fullmatch(text)
    if found is None or ".." in text:
        raise UserError(f"{_shown(text)}: expected hf://OWNER/NAME, hf://OWNER/NAME@REVISION or hf://OWNER/NAME/FILE")
    return HubAddress(found["repo"], found["revision"], found["file"] or WEIGHTS)


def hub_file(text: str, largest: int = MAX_BYTES) -> Path:
    """Fetch a file of a repository into the cache if it is not there, and return its path.

    huggingface_hub does the transfer, which it can resume; it checks for a newer version of the file at each call.

    Args:
        text: ``hf://owner/name``, whose file is model.safetensors, or ``hf://owner/name/file``.
        largest: largest accepted size in bytes.

    Raises:
        UserError: the address is malformed, the repository or file does not exist, the Hub cannot be reached and the
            file is not in the cache, or the file is too large.
    """
    address, text = parse_address(text), _shown(text)
    path = _fetch(text, address, largest)
    if address.file == WEIGHTS:
        with suppress(UserError):  # only detectors of transformers have and need a config.json
            _fetch(text, address._replace(file=CONFIG), largest)
    return path


def _shown(text: str) -> str:
    """Return an address with both slashes, of which a pathlib.Path keeps one."""
    return re.sub(r"^hf:/+", "hf://", text)


def _fetch(text: str, address: HubAddress, largest: int) -> Path:
    if find_spec("huggingface_hub") is None:
        raise UserError(f"{text}: huggingface_hub is required but not installed: pip install 'memotr[hub]'")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, revision, file = address
    options: dict[str, Any] = {"revision": revision, "cache_dir": home() / HUB, "local_files_only": is_offline()}
    try:
        if not is_offline():
            offered = hf_hub_download(repo, file, dry_run=True, **options)
            if offered.will_download and offered.file_size > largest:
                raise UserError(f"{text}: {file} has {offered.file_size:,} bytes, more than {largest:,}")
        return Path(hf_hub_download(repo, file, **options))
    except LocalEntryNotFoundError:
        why = "MEMOTR_OFFLINE is set" if is_offline() else "the Hugging Face Hub cannot be reached"
        raise UserError(f"{text}: {file} is not in the cache, and {why}") from None
    except UserError:
        raise
    except Exception as error:  # its error classes have no common base
        raise UserError(f"{text}: the Hugging Face Hub did not send {file}: {first_line(error)}") from error
