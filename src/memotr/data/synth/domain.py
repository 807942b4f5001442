"""Recognition of generated sequences, for trackers that know nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from memotr.addresses import without_secrets
from memotr.config import Config
from memotr.data.synth import SEQUENCE, SETTINGS_FILE
from memotr.weights.registry import domain_of


def is_generated(source: str | Path) -> bool:
    """Return whether a source is in a sequence of a data set that has the settings file of ``memotr data synth``."""
    path = Path(source).resolve()
    folders = [folder for folder in (path, *path.parents) if folder.name.startswith(SEQUENCE)]
    return path.exists() and any((folder.parent.parent / SETTINGS_FILE).is_file() for folder in folders)


def foreign_domain(config: Config, sources: Iterable[str | Path]) -> str | None:
    """Return a note if a tracker was trained on generated data only, and a source is something else.

    Args:
        config: configuration that is stored with the weights.
        sources: videos, folders, images, cameras or addresses to track.
    """
    domain = domain_of(config)
    foreign = [source for source in sources if not is_generated(source)] if domain else []
    if not foreign:
        return None
    others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    return f"{without_secrets(str(foreign[0]))}{others}: not what the weights were trained on, {domain}"
