"""Typer application with all commands."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import memotr
from memotr.terminal import note, say

MAX_FRAMES = 10**9
"""Upper limit of options that are numbers of frames: about a year of video at 30 frames per second."""

USE = ("demo", "track", "train", "eval", "score", "compare", "errors", "submit", "reproduce")
TOOLS = ("data", "weights", "info", "convert", "export", "bench")


RENAMED = {"--accelerator": "--device"}
"""Former option names of train, eval and submit → current names. The former names are accepted for one release."""


class Commands(TyperGroup):
    """Command group that lists its commands in the order of a user's first steps, and accepts renamed options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments after replacing former names of options."""
        return super().parse_args(ctx, _with_current_names(args))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order of ``USE`` and ``TOOLS``, those that a new user needs first."""
        return sorted(super().list_commands(ctx), key=(*USE, *TOOLS).index)


def _with_current_names(args: list[str]) -> list[str]:
    """Replace former names of options, with a note on standard error from the first rank of a run."""
    if args[:1] not in (["train"], ["eval"], ["submit"]):
        return args
    end = args.index("--") if "--" in args else len(args)
    parts = [arg.partition("=") for arg in args[:end]]  # --name=value is one argument
    former = sorted({name for name, _, _ in parts} & RENAMED.keys())
    if former and all(os.environ.get(rank, "0") == "0" for rank in ("RANK", "LOCAL_RANK", "SLURM_PROCID")):
        note(*(f"{name} is now {RENAMED[name]}" for name in former))
    return [*(RENAMED.get(name, name) + equals + value for name, equals, value in parts), *args[end:]]


app = typer.Typer(
    name="memotr",
    cls=Commands,
    help="End-to-end multi-object tracking with long-term memory (MeMOTR).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"memotr {memotr.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@contextmanager
def importing() -> Iterator[None]:
    """Pause garbage collection while modules are imported: they leave no garbage, and a command starts a tenth sooner.

    What exists at the end is excluded from later collections, because modules stay until the process ends.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
