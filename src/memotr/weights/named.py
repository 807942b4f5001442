"""Named weights: files in the package, or downloads in a cache that are checked at each use."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from memotr.addresses import is_address, without_secrets
from memotr.config import preset_text
from memotr.documents import DocumentError, read_json
from memotr.errors import UserError, wrong_type
from memotr.files import LOCK, replacing, reported
from memotr.terminal import log
from memotr.weights.cache import digest_of, hold, home, is_offline
from memotr.weights.hub import HUB, MAX_BYTES, hub_file, is_hub_address
from memotr.weights.kinds import Kind
from memotr.weights.registry import NamedWeights, named_weights, unknown_name
from memotr.weights.transfer import host_of, page_of, transfer

RECORD = "fetched.json"
"""File with the hash of fetched weights. It is kept when they are removed, so that a changed file is detected."""

AGAIN = "the next use fetches it again"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def weights_file(given: str | Path) -> Path:
    """Return the weights file that a user names; fetch named weights that are not in the cache.

    Args:
        given: path of a file or folder; else a name of the registry, or an address ``hf://owner/name``.

    Raises:
        UserError: no weights have this name, they cannot be fetched, or the fetched file has another hash.
    """
    if not isinstance(given, str | os.PathLike):
        raise wrong_type("weights as a file, a name or hf://OWNER/NAME", given)
    text, path = str(given), Path(given)
    if is_hub_address(text):
        return hub_file(text)
    entry = named_weights().get(text)
    if entry is None:
        if is_address(text) and not path.exists():
            raise UserError(f"{without_secrets(text)}: is an address; download the file, and pass its path")
        if not path.exists() and not path.suffix:
            raise unknown_name(text)
        return path
    if path.is_file():
        return path
    if path.is_dir() and any(file.suffix in SUFFIXES for file in path.iterdir()):
        raise UserError(
            f"{text}: is both a name of weights and a folder with weights; pass the file in the folder, or for the "
            f"named weights the path that `memotr weights where {text}` prints"
        )
    return file_of(entry)


def file_of(entry: NamedWeights) -> Path:
    """Return the checked file of an entry; fetch it if it is not in the cache."""
    file = present_file(entry)
    if file is None:
        return fetch(entry)
    if not entry.ships:
        if reason := _refusal(entry, file):
            raise UserError(f"{file}: {reason}; `memotr weights clear {entry.name}` removes it, and {AGAIN}")
        _write_settings(entry, file)
    return file


def present_file(entry: NamedWeights) -> Path | None:
    """Return the file of an entry if it ships or has been fetched, unchecked."""
    if entry.ships:
        return Path(str(resources.files("memotr") / "presets" / entry.file))
    file = folder_of(entry) / entry.file
    return file if file.is_file() else None


def folder_of(entry: NamedWeights) -> Path:
    """Return the folder of an entry in the cache."""
    return home() / "weights" / entry.name


def fetch(entry: NamedWeights, given: Path | None = None) -> Path:
    """Fetch the file of an entry into the cache, check it, and return its path.

    Args:
        entry: weights that do not ship.
        given: downloaded file to copy into the cache; None: download it.

    Raises:
        UserError: no address sends the file, or it has another hash.
    """
    from memotr.weights.tensor_files import check_file  # imported late: the list of names needs no PyTorch

    target = folder_of(entry) / entry.file
    with hold(target.parent, entry.name):
        if given is not None:
            check_file(given)
            draft = target.with_name(f"{target.name}.given")
            with reported(draft):
                shutil.copyfile(given, draft)
            _accept(entry, draft, target, f"{given}:")
        elif not target.is_file():  # another process may have fetched it meanwhile
            _fetch(entry, target)
    return file_of(entry)


def clear(entry: NamedWeights) -> int:
    """Remove the fetched files of an entry except its hash; return the number of bytes freed."""
    folder = folder_of(entry)
    if not folder.is_dir():
        return 0
    with hold(folder, entry.name), reported(folder):
        files = [file for file in folder.iterdir() if file.name not in (RECORD, LOCK)]
        freed = sum(file.stat().st_size for file in files)
        for file in files:
            file.unlink()
    return freed


def clear_hub() -> int:
    """Remove all files from the Hugging Face Hub; return the number of bytes freed."""
    folder = home() / HUB
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    freed = sum(file.stat().st_size for file in files)
    with reported(folder):
        shutil.rmtree(folder, ignore_errors=not folder.exists())
    return freed


def _fetch(entry: NamedWeights, target: Path) -> None:
    """Fetch the file from the first address that sends the expected one."""
    if is_offline():
        by_hand = _by_hand(entry, entry.places[0])
        raise UserError(f"{entry.name}: not fetched yet, and MEMOTR_OFFLINE is set; unset it, or {by_hand}")
    errors = []
    for number, place in enumerate(entry.places):
        draft = target.with_name(f"{target.name}.{number}")
        log(f"fetching {entry.name} from {host_of(place)} to {target}")
        try:
            transfer(place, draft, entry.name, entry.size or MAX_BYTES)
            return _accept(entry, draft, target, f"the file from {host_of(place)}")
        except UserError as error:
            errors.append(f"{error}; {_by_hand(entry, place)}")
    raise UserError(f"{entry.name}: {'; or '.join(errors)}")


def _by_hand(entry: NamedWeights, place: str) -> str:
    return f"download {page_of(place)} in a browser and pass it: memotr weights fetch {entry.name} --file FILE"


def _accept(entry: NamedWeights, draft: Path, target: Path, origin: str) -> None:
    """Move a new file to its place if it is the expected one, otherwise remove it and raise UserError."""
    try:
        if reason := _refusal(entry, draft):
            raise UserError(f"{origin} {reason}")
        with reported(target):
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _refusal(entry: NamedWeights, file: Path) -> str | None:
    """Return why a file is not the expected one, or None. Without a known hash, record that of the first valid file."""
    from memotr.weights.manifest import check_manifest
    from memotr.weights.tensor_files import check_file

    record = folder_of(entry) / RECORD
    before = _read_record(record)
    try:
        check_file(file)
        digest = digest_of(file)
        if entry.sha256 is None and before is None:
            check_manifest(entry, file)
    except UserError as error:
        return str(error).removeprefix(f"{file}: ")
    if entry.sha256 is not None:
        return None if digest == entry.sha256 else f"has the SHA-256 {digest}, not {entry.sha256}"
    if before is None:
        content = {
            "sha256": digest,
            "size": file.stat().st_size,
            "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with replacing(record) as beside:
            beside.write_text(json.dumps({"name": entry.name} | content, indent=1, allow_nan=False) + "\n")
        return None
    if digest == before["sha256"]:
        return None
    return (
        f"has the SHA-256 {digest}, not {before['sha256']} like the file fetched on {before['fetched']}; "
        f"if its authors have replaced it, remove {record}"
    )


def _read_record(file: Path) -> Mapping[str, Any] | None:
    """Return the record of the first fetched file; None without a record."""
    if not file.is_file():
        return None
    try:
        record = read_json(file)
    except DocumentError as error:
        raise UserError(f"{error}; remove it to record the hash of the next fetched file") from None
    if not isinstance(record, dict) or not {"sha256", "fetched"} <= record.keys():
        raise UserError(f"{file}: has no sha256 and fetched; remove it to record the hash of the next fetched file")
    return record


def _write_settings(entry: NamedWeights, file: Path) -> None:
    """Write a tracker's published settings next to its file, where :func:`load_model` finds them."""
    beside, settings = file.with_suffix(".yaml"), preset_text(entry.preset)
    if entry.kind is Kind.TRACKER and not (beside.is_file() and beside.read_text(encoding="utf-8") == settings):
        with replacing(beside) as draft:
            draft.write_text(settings, encoding="utf-8")
