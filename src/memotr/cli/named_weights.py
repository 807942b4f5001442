"""The commands `memotr weights list`, `fetch`, `where` and `clear`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memotr.cli.application import app
from memotr.errors import UserError
from memotr.terminal import say

if TYPE_CHECKING:
    from memotr.weights.registry import NamedWeights

weights_commands = typer.Typer(help="List, fetch and remove named weights.", no_args_is_help=True)
app.add_typer(weights_commands, name="weights")

Name = Annotated[str, typer.Argument(help="Name of weights (see `memotr weights list`), or hf://OWNER/NAME.")]


@weights_commands.command("list")
def list_weights() -> None:
    """List all named weights: kind, use, training data, and whether they have been fetched."""
    from memotr.cli.weights import show_table
    from memotr.weights.named import present_file
    from memotr.weights.registry import named_weights

    lines = {}
    for name, entry in named_weights().items():
        here = "ships with memotr" if entry.ships else "fetched" if present_file(entry) else "not fetched"
        lines[name] = f"{entry.kind}; {entry.good_for}; trained on {entry.trained_on}; {here}"
    show_table(lines)


@weights_commands.command("fetch")
def fetch_weights(
    name: Name,
    file: Annotated[
        Path | None, typer.Option(help="File that you have downloaded yourself, to use instead of a download.")
    ] = None,
) -> None:
    """Fetch weights into the cache, check them, and print their path.

    An interrupted download is continued. Commands with --checkpoint fetch missing weights by themselves.
    """
    from memotr.weights.hub import hub_file, is_hub_address
    from memotr.weights.named import fetch, file_of

    if is_hub_address(name):
        if file is not None:
            raise UserError(f"--file {file}: only for named weights, not for {name}")
        say(hub_file(name))
        return
    entry = _entry(name)
    if file is not None and entry.ships:
        raise UserError(f"--file {file}: {name} ships with memotr; leave out --file")
    say(file_of(entry) if file is None else fetch(entry, file))


@weights_commands.command("where")
def where_weights(
    name: Annotated[str | None, typer.Argument(help="Name of weights.", show_default="the cache folder")] = None,
) -> None:
    """Print the path of fetched or shipped weights, or of the cache folder."""
    from memotr.weights.cache import home
    from memotr.weights.named import present_file

    if name is None:
        say(home())
        return
    file = present_file(_entry(name))
    if file is None:
        raise UserError(f"{name}: not fetched; run `memotr weights fetch {name}`")
    say(file)


@weights_commands.command("clear")
def clear_weights(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of weights.", show_default="everything in the cache")
    ] = None,
) -> None:
    """Remove fetched weights from the cache. Their hashes are kept, to check the files when they are fetched again."""
    from memotr.weights.named import clear, clear_hub
    from memotr.weights.registry import named_weights

    entries = [_entry(name) for name in names] if names else named_weights().values()
    freed = sum(map(clear, entries)) + (0 if names else clear_hub())
    say(f"removed {freed / 1e6:.1f} MB")


def _entry(name: str) -> NamedWeights:
    from memotr.weights.registry import named_weights, unknown_name

    entry = named_weights().get(name)
    if entry is None:
        raise unknown_name(name)
    return entry
