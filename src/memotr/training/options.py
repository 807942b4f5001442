"""From what was asked for on the command line to a configuration, a folder, and the state to go on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memotr.config import Config, SplitConfig, load_config, make_config
from memotr.data.layouts import recognise
from memotr.errors import UserError
from memotr.training.checkpoint import LAST, RunState, read_state


def settle(
    source: str | None,
    settings: list[str],
    options: Mapping[str, Any],
    output: Path | None,
    resume: Path | None,
) -> tuple[Config, Path, RunState | None]:
    """What to train, where to write, and where to go on.

    Args:
        source: name of a preset or path of a YAML file; None, or a first ``key=value``, where a run is resumed with the
            configuration that it has.
        settings: ``key=value``.
        options: values by their keys; None where nothing was said.
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
        raise UserError("what is to be trained? Name a preset or a YAML file, or a run to --resume")
    own = None if resume is None else resume if resume.is_dir() else resume.parent
    if output is None:
        output = own or Path("runs") / config.name
    elif own is not None and output.resolve() != own.resolve() and (output / LAST).is_file():
        raise UserError(f"{output}: holds another run than {resume}; choose another --output")
    return config, output, state


def with_validation(config: Config) -> Config:
    """The same with a split to validate on, where validation is wanted: of divided training data it is ``val``.

    Raises:
        UserError: there is none.
    """
    every, source = config.training.output.val_every, config.data.train[0]
    if not every or config.data.val is not None:
        return config
    path = Path(config.data.root) / source.path
    if path.exists() and "val" in recognise(path, source.format).splits:
        val = SplitConfig(path=source.path, split="val", format=source.format)
        return config.model_copy(update={"data": config.data.model_copy(update={"val": val})})
    raise UserError(
        f"--val-every {every}: {path} has no split val to validate on; name one, its path counted from the data root: "
        f"data.val='{{path: {source.path}, split: val_half}}'"
    )
