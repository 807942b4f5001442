"""Registry of named weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import PurePath

from memotr.config import Config, preset_names
from memotr.documents import parse_yaml
from memotr.errors import UserError
from memotr.weights.kinds import Kind

REGISTRY = "registry.yaml"
SYNTHDANCE = "SynthDance"
"""Folder name of the generated data set in training settings."""


@dataclass(frozen=True)
class NamedWeights:
    """Entry of the registry.

    Attributes:
        name: name on the command line and for :func:`memotr.load_model`.
        kind: tracker or detector.
        preset: preset with the published settings; the file must fit its network exactly.
        file: file name, in the cache or in the package.
        trained_on: description of the training data.
        good_for: description of suitable uses.
        licence: description of the licence of the file.
        source: page or document on the origin of the weights.
        places: addresses to fetch the file from, the best first: ``gdrive://ID``, ``hf://OWNER/NAME/FILE`` or
            ``https://…``; empty if the file ships with the package.
        published: name of a benchmark split → published metrics, in percent, or counts.
        size: number of bytes; None if not known.
        sha256: hash of the file; None if not known.
    """

    name: str
    kind: Kind
    preset: str
    file: str
    trained_on: str
    good_for: str
    licence: str
    source: str
    places: tuple[str, ...] = ()
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    size: int | None = None
    sha256: str | None = None

    @property
    def ships(self) -> bool:
        """True if the file is part of the package."""
        return not self.places


@cache
def named_weights() -> Mapping[str, NamedWeights]:
    """Return name → entry of the registry, in its order."""
    text = (resources.files("memotr") / "weights" / REGISTRY).read_text(encoding="utf-8")
    entries = {}
    for name, values in parse_yaml(text, REGISTRY).items():
        kind, places = Kind(values.pop("kind")), tuple(values.pop("places", ()))
        entries[name] = NamedWeights(name, kind, places=places, **values)
    return entries


def domain_of(config: Config) -> str | None:
    """Return a warning text for weights trained on generated data only; None for others."""
    if all(PurePath(source.path).name == SYNTHDANCE for source in config.data.train):
        return f"generated dancers only ({SYNTHDANCE}); for people in real video: memotr weights fetch dancetrack"
    return None


def unknown_name(name: str) -> UserError:
    """Return the error for a text that is neither a file nor a name of weights; it suggests the nearest name."""
    known = named_weights()
    near = difflib.get_close_matches(name.lower(), known, n=1)
    if name in preset_names():
        reason = f"is a preset for `memotr train {name}`, without weights"
    else:
        reason = f"no such file, and no weights have this name{f'; did you mean {near[0]!r}?' if near else ''}"
    return UserError(f"{name}: {reason}; weights are {', '.join(known)} (see `memotr weights list`)")
