"""Recognition of weights files: trackers, training checkpoints, detectors and backbones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from memotr.documents import DocumentError, parse_json
from memotr.errors import UserError, warn
from memotr.weights import huggingface
from memotr.weights.hub import CONFIG
from memotr.weights.kinds import Kind
from memotr.weights.published_names import published_name
from memotr.weights.tensor_files import check_file, check_finite, is_safetensors, read_safetensors, read_torch

FORMAT = 1
"""Version of the header that this package writes."""

RUN_FILES = ("best.safetensors", "last.safetensors")
"""Weights files that a training run writes, in order of preference."""

HEADER = "memotr"
"""Key of the header: an entry of a ``torch.save`` dictionary, or JSON text in a safetensors file's metadata."""

BOX_HEADS, SHARED_BOX_HEADS = "bbox_embed.", "transformer.decoder.bbox_embed."
"""Two names of the same modules, whose tensors are stored twice in the authors' layout."""

WRAPPERS = ("_orig_mod.", "module.", "model.")
"""Prefixes that torch.compile, DistributedDataParallel and Lightning modules add to all names of a state dict."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Content of a weights file; all values are finite.

    Attributes:
        path: the file.
        kind: kind of the file.
        layout: name of the code that writes such files.
        state: tensors by name: published names (trackers), Deformable-DETR's names (detectors) or torchvision's.
        settings: configuration in the file, not yet validated; None without one.
        epoch: number of trained epochs; None if not stored.
        iterations: number of training steps; None if not stored.
    """

    path: Path
    kind: Kind
    layout: str
    state: dict[str, Tensor]
    settings: dict[str, Any] | None = None
    epoch: int | None = None
    iterations: int | None = None

    def __post_init__(self) -> None:
        check_finite(self.state, self.path)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file or a Hugging Face model folder and recognise its kind.

    Only tensors and plain values are read, so no file can run code.

    Raises:
        UserError: the file is missing, damaged, of an unknown kind, or holds values that are not finite; the message
            describes what was found.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    return _recognise(path, _read_file(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file or a Hugging Face model folder, of any kind of model.

    Raises:
        UserError: the file is missing, damaged, not a weights file, or holds values that are not finite.
    """
    file = huggingface.find_weights(path) if path.is_dir() else path
    payload = _read_file(file)
    state = _find_state(payload)
    if state is None:
        raise UserError(f"{file}: not a weights file; it contains {_describe(payload)}")
    check_finite(state, file)
    return state


def only_weights_in(folder: Path) -> Path:
    """Return the only weights file in a folder; in a run's folder the best weights, otherwise the last.

    Raises:
        UserError: the folder contains no such file, or several.
    """
    for name in RUN_FILES:
        if (folder / name).is_file():
            warn(f"{folder}: is a folder; {name} in it is used")
            return folder / name
    files = sorted(file.name for file in folder.iterdir() if file.suffix in (".pth", ".pt", ".safetensors"))
    if len(files) != 1:
        found = f"it contains {_some(files)}" if files else "it contains no .pth, .pt or .safetensors"
        raise UserError(f"{folder}: is a folder; pass the checkpoint file in it ({found})")
    return folder / files[0]


def make_header(settings: dict[str, Any], epoch: int | None) -> dict[str, Any]:
    """Return the header of our own files, as plain values."""
    header: dict[str, Any] = {"format": FORMAT, "config": settings}
    return header if epoch is None else {**header, "epoch": epoch}


def shared_heads_once(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the state with each box head once, as ``bbox_embed``; files may use either of its two names, or both.

    Raises:
        UserError: the two copies in the file differ.
    """
    unique = {name: tensor for name, tensor in state.items() if not name.startswith(SHARED_BOX_HEADS)}
    for name, tensor in state.items():
        if name.startswith(SHARED_BOX_HEADS):
            own = BOX_HEADS + name.removeprefix(SHARED_BOX_HEADS)
            if own in unique and not (unique[own].dtype == tensor.dtype and _equal(unique[own], tensor)):
                raise UserError(f"{path}: {own} and {name} are one tensor of the model, but differ in this file")
            unique[own] = tensor
    return unique


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal, with NaN equal to NaN."""
    return one.equal(other) or one.nan_to_num().equal(other.nan_to_num())


def _read_folder(folder: Path) -> Checkpoint:
    if not (folder / CONFIG).is_file():
        file = only_weights_in(folder)
        return _recognise(file, _read_file(file))
    return _from_huggingface(folder, huggingface.read_settings(folder), _read_file(huggingface.find_weights(folder)))


def _from_huggingface(path: Path, settings: Mapping[str, Any], payload: Any) -> Checkpoint:
    state = _find_state(payload)
    if state is None or not huggingface.is_huggingface_state(state):
        raise UserError(f"{path}: its weights are not those of a Deformable DETR; they contain {_describe(payload)}")
    try:
        official = huggingface.to_official(state, settings.get("decoder_layers", 6))
    except KeyError as error:
        raise UserError(f"{path}: incomplete: it has no tensor {error}") from None
    return Checkpoint(path, Kind.DETECTOR, huggingface.LAYOUT, official)


def _read_file(path: Path) -> Any:
    """Read the content of a file in the form of a ``torch.save`` payload."""
    check_file(path)
    if not is_safetensors(path):
        return read_torch(path)
    tensors, metadata = read_safetensors(path)
    return {"model": tensors, HEADER: _parse(path, metadata[HEADER])} if HEADER in metadata else tensors


def _recognise(path: Path, payload: Any) -> Checkpoint:
    state = _find_state(payload)
    if state is None:
        raise UserError(f"{path}: not a checkpoint that memotr knows; it contains {_describe(payload)}")
    if huggingface.is_huggingface_state(state):
        return _from_huggingface(path, huggingface.read_settings(path.parent), state)
    kind = _kind_of(state)
    if kind is None:
        raise UserError(f"{path}: neither a tracker nor a detector that memotr knows; it contains {_describe(state)}")
    if HEADER in payload:
        header = payload[HEADER]
        _check_format(path, header)
        kind = Kind.TRAINING if "optimizer" in payload else kind
        progress = _integer(header, "epoch"), _integer(header, "iterations")
        published = kind is Kind.TRACKER and not is_safetensors(
            path
        )  # as `memotr convert` writes for the authors' code
        layout = "published MeMOTR code, with memotr's configuration" if published else "memotr"
        return Checkpoint(path, kind, layout, _averaged(state, payload, path), header["config"], *progress)
    if kind is Kind.TRACKER:
        states = payload.get("states")
        progress = _integer(states, "start_epoch"), _integer(states, "global_iters")
        return Checkpoint(path, kind, "published MeMOTR code", state, None, *progress)
    if kind is Kind.DETECTOR:
        last = _integer(payload, "epoch")  # counted from 0
        return Checkpoint(path, kind, "official detector code", state, None, None if last is None else last + 1)
    return Checkpoint(path, kind, "torchvision or timm", state)


def _averaged(state: dict[str, Tensor], payload: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the weights that a run validates and exports: their moving average if stored, else the weights."""
    if payload.get("average") is None:
        return state
    average = _find_state(_get(payload["average"], "average"))
    if average is None:
        raise UserError(f"{path}: its moving average is damaged; download the file again")
    return shared_heads_once(state, path) | shared_heads_once(average, path)


def _find_state(payload: Any) -> dict[str, Tensor] | None:
    """Return the state dict in a payload, without the prefixes of wrappers; None if there is none.

    Names of a model in memory, as in a bare ``model.state_dict()``, become the published ones.
    """
    if not isinstance(payload, dict):
        return None
    for candidate in (payload.get("model"), payload.get("state_dict"), payload):
        if isinstance(candidate, dict) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            state = {str(name): tensor for name, tensor in candidate.items()}
            while wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in state)), None):
                state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
            return {published_name(name): tensor for name, tensor in state.items()}
    return None


def _kind_of(state: Mapping[str, Tensor]) -> Kind | None:
    if "det_query_embed" in state or any(name.startswith("query_updater.") for name in state):
        return Kind.TRACKER
    if any(name.startswith("transformer.decoder.") for name in state) and any(".sampling_offsets." in n for n in state):
        return Kind.DETECTOR
    if {"conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"} <= state.keys():
        return Kind.BACKBONE
    return None


def _parse(path: Path, header: str) -> Any:
    try:
        return parse_json(header, path)
    except DocumentError:
        raise UserError(f"{path}: its {HEADER!r} header is damaged; download the file again") from None


def _integer(values: Any, key: str) -> int | None:
    value = _get(values, key)
    return value if isinstance(value, int) and 0 <= value < 2**63 else None


def _get(values: Any, key: str) -> Any:
    return values.get(key) if isinstance(values, dict) else None


def _check_format(path: Path, header: Any) -> None:
    version = header.get("format") if isinstance(header, dict) else None
    if not isinstance(version, int) or not isinstance(header.get("config"), dict):
        raise UserError(
            f"{path}: its {HEADER!r} header has no valid format number and config; it was not written by memotr"
        )
    if version > FORMAT:
        raise UserError(f"{path}: has format {version}, but this memotr reads formats up to {FORMAT}; upgrade it")


def _describe(payload: Any) -> str:
    if not isinstance(payload, dict):
        return "a single tensor" if isinstance(payload, Tensor) else f"a {type(payload).__name__}"
    if not payload:
        return "nothing"
    return f"{len(payload)} {'entry' if len(payload) == 1 else 'entries'} named {_some(payload)}"


def _some(names: Iterable[Any], count: int = 3) -> str:
    shown = [name if isinstance(name, str) else f"a {type(name).__name__}" for name in names]
    return ", ".join(shown[:count]) + (", ..." if len(shown) > count else "")
