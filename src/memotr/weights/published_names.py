"""Names of a tracker's tensors in files.

Files keep the names of the authors' code, even if a module of this package has another name. These names and their
order apply to everything that is stored: weights files, groups and positions in the optimizer, and the record of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from torch import Tensor, nn

from memotr.vocabulary import Variant

T = TypeVar("T")

PREFIXES: Mapping[Variant, tuple[tuple[str, str], ...]] = {
    "dab": (
        ("queries.anchors", "det_anchor"),
        ("queries.contents", "det_query_embed"),
        ("queries.heads.scale.", "transformer.decoder.query_scale."),
        ("queries.heads.position.", "transformer.decoder.ref_point_head."),
    ),
    "deformable-detr": (
        ("queries.embeddings", "det_query_embed"),
        ("queries.reference_points.", "transformer.reference_points."),
        ("queries.memory.linear1.", "query_updater.linear_pos1."),
        ("queries.memory.linear2.", "query_updater.linear_pos2."),
        ("queries.memory.norm.", "query_updater.norm_pos."),
    ),
}
"""Prefixes of names, (ours, published), by variant. All other names are the published ones.

Each of our prefixes has one published name, so names can be translated without their model.
"""

ORDER = (
    "det_anchor",
    "det_query_embed",
    "backbone.",
    "transformer.level_embed",
    "transformer.encoder.",
    "transformer.decoder.layers.",
    "transformer.decoder.bbox_embed.",
    "transformer.decoder.query_scale.",
    "transformer.decoder.ref_point_head.",
    "transformer.reference_points.",
    "query_updater.",
    "feature_projs.",
    "class_embed.",
    "bbox_embed.",
)
"""Order of the published names, by prefix. Names that are not listed come last."""


def published_name(name: str) -> str:
    """Return the published name of a tensor of a model; published names stay as they are."""
    for rows in PREFIXES.values():
        for ours, theirs in rows:
            if name.startswith(ours):
                return theirs + name.removeprefix(ours)
    return name


def published(named: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Return published name → value of a model's named items, in the published order.

    Args:
        named: pairs such as those of ``model.named_parameters()``.
    """
    renamed = {published_name(name): value for name, value in named}
    return dict(sorted(renamed.items(), key=lambda item: _place(item[0])))


def published_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a model by published names; the tensors are the model's own."""
    return published(model.state_dict().items())


def load_published(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill a model with tensors by published names.

    Raises:
        RuntimeError: names or shapes differ from the model's.
    """
    ours = {published_name(name): name for name in model.state_dict()}
    model.load_state_dict({ours.get(name, name): tensor for name, tensor in state.items()})


def _place(name: str) -> int:
    return next((place for place, prefix in enumerate(ORDER) if name.startswith(prefix)), len(ORDER))
