"""Configuration, folder and state of a run: of a new one, or of one that is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from memotr.config import Config, load_config, make_config
from memotr.errors import UserError
from memotr.training.run_state import LAST, RunState, read_state


def resolve_run(
    source: str | None,
    settings: list[str],
    options: Mapping[str, Any],
    output: Path | None,
    resume: Path | None,
) -> tuple[Config, Path, RunState | None]:
    """Resolve the configuration, the output folder and the state to continue from.

    Args:
        source: name of a preset or path of a YAML file; None, or a first ``key=value``, where a run is resumed with the
            configuration that it has.
        settings: settings to override as ``key=value``.
        options: values by key of the configuration; None where an option was not given.
        output: folder to write to; by default that of the resumed run, or ``runs/`` and the configuration's name.
        resume: folder or checkpoint of a run.

    Raises:
        UserError: unknown or impossible settings; nothing to train, nothing to resume.
    """
    if source is not None and "=" in source and not Path(source).is_file():
        settings, source = [source, *settings], None
    overrides = [*settings, *(f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None)]
    state = None if resume is None else read_state(resume)
    if source is not None:
        config = load_config(source, overrides)
    elif state is not None:
        config = make_config(state.settings, str(resume), overrides)
    else:
        raise UserError("nothing to train: pass a preset, a YAML file or --resume")
    own = None if resume is None else resume if resume.is_dir() else resume.parent
    if output is None:
        output = own or Path("runs") / config.name
    elif own is not None and output.resolve() != own.resolve() and (output / LAST).is_file():
        raise UserError(f"{output}: holds another run than {resume}; choose another --output")
    return config, output, state


def check_resumable(state: RunState, config: Config) -> None:
    """Raise UserError if a run cannot be continued with this configuration."""
    before = make_config(state.settings, "the checkpoint")
    for change in changes(_network(before), _network(config)):
        raise UserError(f"cannot go on with another network than the checkpoint's: {change}")
    done, epochs = state.progress.epoch, config.training.epochs
    if done >= epochs and not state.progress.outcome_due:
        raise UserError(
            f"this run has done {done} of {epochs} epochs; to train on, resume it with more training.epochs"
        )


def describe_resuming(state: RunState, config: Config, world_size: int) -> Iterator[str]:
    """Yield lines that say where the run continues and which settings have changed."""
    if state.progress.outcome_due:
        yield f"going on with what comes of epoch {state.progress.epoch}, after step {state.progress.steps}"
    else:
        yield f"going on in epoch {state.progress.epoch + 1} after step {state.progress.steps}"
    before = make_config(state.settings, "the checkpoint")
    yield from (f"  changed: {change}" for change in changes(before.model_dump(), config.model_dump()))
    if len(state.ranks) != world_size:
        yield (
            f"  the run was on {len(state.ranks)} ranks, now on {world_size}: what is left of the epoch comes in the "
            "same order, but in steps of another size, so that results differ from those of an uninterrupted run"
        )


def _network(config: Config) -> dict[str, Any]:
    return {"classes": config.classes, "model": config.model.model_dump(exclude={"backbone": {"weights"}})}


def changes(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield a line for each setting that differs."""
    for key, value in after.items():
        old, path = before[key], f"{place}.{key}" if place else key
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            yield from changes(old, value, path)
        elif old != value:
            yield f"{path} {old} → {value}"
