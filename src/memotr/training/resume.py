"""Configuration, folder and state of a new or resumed run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from memotr.config import Config, load_config, make_config
from memotr.errors import UserError
from memotr.filenames import clean_filename
from memotr.terminal import log
from memotr.training.run_state import LAST, RunState, read_state
from memotr.weights.kinds import Kind
from memotr.weights.model_files import find_config, read_weights


def resolve_run(
    source: str | None,
    settings: list[str],
    options: Mapping[str, Any],
    output: Path | None,
    resume: Path | None,
    data: Path | None = None,
    pretrained: str | Path | None = None,
) -> tuple[Config, Path, RunState | None]:
    """Resolve the configuration, the output folder and the state to continue from.

    Args:
        source: name of a preset or path of a YAML file; None: the configuration of the resumed run or of the pretrained
            weights. A first ``key=value`` in its place is treated as an override.
        settings: overrides as ``key=value``.
        options: overrides by key of the configuration; None: the option was not given.
        output: folder to write to; None: that of the resumed run, else ``runs/`` and the configuration's name.
        resume: folder or checkpoint of a run to continue.
        data: folder of the user's data set, which replaces the configured data and its classes.
        pretrained: weights to start from.

    Raises:
        UserError: unknown or impossible settings; nothing to train, nothing to resume.
    """
    if source is not None and "=" in source and not Path(source).is_file():
        settings, source = [source, *settings], None
    overrides = [*settings, *(f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None)]
    state = None if resume is None else read_state(resume)
    if state is not None and data is not None:
        raise UserError(f"--resume {resume} continues on the data of the run: leave out --data, or set data.root=…")
    if source is not None:
        config = load_config(source, overrides if data is None else None)
    elif state is not None:
        config = make_config(state.settings, str(resume), overrides)
    elif data is not None and pretrained is not None:
        config, origin = settings_of(pretrained)
        log(f"settings: from {origin}; to change them pass a preset or a YAML file, or key=value for single settings")
    else:
        raise UserError(
            "nothing to train: pass a preset or a YAML file, or --data FOLDER with --pretrained NAME, or --resume RUN"
        )
    if data is not None:
        config = make_config(on_data(config, data), f"--data {data}", overrides)
    own = None if resume is None else resume if resume.is_dir() else resume.parent
    if output is None:
        output = own or Path("runs") / config.name
    elif own is not None and output.resolve() != own.resolve() and (output / LAST).is_file():
        raise UserError(f"{output}: contains another run than {resume}; choose another --output")
    return config, output, state


def settings_of(pretrained: str | Path) -> tuple[Config, str]:
    """Return the configuration for further training of pretrained weights, and a text that names its origin."""
    checkpoint = read_weights(pretrained)
    if checkpoint.kind in (Kind.TRACKER, Kind.TRAINING):
        return find_config(checkpoint)[0], str(pretrained)
    preset = "dancetrack" if "refpoint_embed.weight" in checkpoint.state else "dancetrack-deformable-detr"
    return load_config(preset), f"the preset {preset}"


def on_data(config: Config, data: Path) -> dict[str, Any]:
    """Return the settings for a user's data set: its classes, and its folder's name as the name of the run."""
    settings = config.model_dump(mode="json", exclude={"classes"})
    settings["data"] |= {"root": str(data), "train": [{"path": "."}], "val": None}
    return settings | {"name": clean_filename(data.resolve().name) or config.name}


def check_resumable(state: RunState, config: Config) -> None:
    """Raise UserError if a run cannot continue with this configuration: another network, or no epochs left."""
    before = make_config(state.settings, "the checkpoint")
    for change in changes(_network(before), _network(config)):
        raise UserError(f"cannot continue with another network than the checkpoint's: {change}")
    done, epochs = state.progress.epoch, config.training.epochs
    if done >= epochs and not state.progress.outcome_due:
        raise UserError(
            f"this run has finished {done} of {epochs} epochs; to train further, resume with a larger training.epochs"
        )


def describe_resuming(state: RunState, config: Config, world_size: int) -> Iterator[str]:
    """Yield lines that say where the run continues and which settings have changed."""
    if state.progress.outcome_due:
        yield f"continuing with the results of epoch {state.progress.epoch}, after step {state.progress.steps}"
    else:
        yield f"continuing in epoch {state.progress.epoch + 1} after step {state.progress.steps}"
    before = make_config(state.settings, "the checkpoint")
    yield from (f"  changed: {change}" for change in changes(before.model_dump(), config.model_dump()))
    if len(state.ranks) != world_size:
        yield (
            f"  the run had {len(state.ranks)} ranks and now has {world_size}: the remaining clips of the epoch have "
            "the same order, but steps of another size, so results differ from those of an uninterrupted run"
        )


def _network(config: Config) -> dict[str, Any]:
    return {"classes": config.classes, "model": config.model.model_dump(exclude={"backbone": {"weights"}})}


def changes(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield "key old → new" for each setting that differs."""
    for key, value in after.items():
        old, path = before[key], f"{place}.{key}" if place else key
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            yield from changes(old, value, path)
        elif old != value:
            yield f"{path} {old} → {value}"
