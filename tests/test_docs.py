"""The pages for users name presets, settings, commands, options and files that are there."""

from __future__ import annotations

import re
import shlex
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from pydantic import BaseModel

from memotr import cli
from memotr.cli import app
from memotr.config import Config, load_config
from memotr.models.memotr import MeMOTR
from memotr.weights.model_files import save_model
from tests.builders import tiny_model
from tests.io.videos import write_video

ROOT = Path(__file__).parents[1]
PACKAGE = Path(cli.__file__).parents[1]
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which also names what has gone
NAMES = {page: page.relative_to(ROOT).as_posix() for page in PAGES}
pages = pytest.mark.parametrize("page", CURRENT, ids=NAMES.__getitem__)

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)")
SETTING = re.compile(r"`((?:model|data|input|tracking|training)\.[a-z_0-9.]+[a-z_0-9])(?:=[^`]*)?`")
INLINE, FENCED = (
    re.compile(r"`([^`\n]+)`"),
    re.compile(r"^```(?:bash|sh|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL),
)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES.__getitem__)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(text_of(page)):
        place = page.parent / target if target else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), f"{target}#{anchor}"


def has_field(settings: type[BaseModel], names: list[str]) -> bool:
    field = settings.model_fields.get(names[0])
    if field is None or len(names) == 1:
        return field is not None
    inner = [kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(kind, type)]
    return any(issubclass(kind, BaseModel) and has_field(kind, names[1:]) for kind in inner)


@pages
def test_settings_exist(page: Path) -> None:
    for name in SETTING.findall(text_of(page)):
        assert has_field(Config, name.split(".")), name


def commands_in(text: str) -> Iterator[list[str]]:
    """Words of every command of the package, in code blocks and in lines."""
    blocks = FENCED.findall(text)
    joined = re.sub(r"\\\n\s*", " ", "\n".join(blocks))
    for line in (*joined.splitlines(), *INLINE.findall(FENCED.sub("", text))):
        if line.startswith("memotr ") and "…" not in line.split()[1]:
            try:
                yield shlex.split(line, comments=True)[1:]
            except ValueError:  # a part of a command
                yield line.split()[1:]


@pages
def test_commands_and_their_options_exist(page: Path) -> None:
    root = typer.main.get_command(app)
    for words in commands_in(text_of(page)):
        command = root
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.partition("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word)}
        assert command is not root or given <= {"--version", "--help"}, words
        assert given <= known | {"--help"}, f"{command.name}: {sorted(given - known)}"


def since(values: tuple[int, ...], steps: tuple[int, ...]) -> str:
    return ", ".join(str(v) if not step else f"{v} from {step}" for v, step in zip(values, (0, *steps), strict=True))


def preset_rows() -> list[list[str]]:
    table = re.search(r"^\| preset \|.*?\n\n", text_of(ROOT / "docs/training.md"), re.MULTILINE | re.DOTALL)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:] if line]


@pytest.mark.parametrize("row", preset_rows(), ids=lambda row: row[0].strip("`"))
def test_the_table_of_presets_equals_the_presets(row: list[str]) -> None:
    presets, _, epochs, lengths, interval, milestones = row
    for name in re.findall(r"`([^`]+)`", presets):
        config = load_config(name)
        sampling = config.data.sampling
        assert epochs == str(config.training.epochs)
        assert lengths == since(sampling.lengths, sampling.steps)
        assert milestones == ", ".join(map(str, config.training.optimizer.milestones))
        several = [wide for length, wide in zip(sampling.lengths, sampling.intervals, strict=False) if length > 1]
        assert interval == f"≤ {', '.join(map(str, several or [sampling.interval]))}"


def test_every_preset_is_in_the_table() -> None:
    presets = {file.stem for file in (ROOT / "src/memotr/presets").glob("*.yaml")}
    assert presets == {name for row in preset_rows() for name in re.findall(r"`([^`]+)`", row[0])}


def test_calls_from_the_command_to_the_network_are_as_the_table_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called: list[tuple[str, str]] = []
    forward = MeMOTR.forward

    def record(*args: Any, **options: Any) -> Any:
        stack = [(f.filename, f.name) for f in traceback.extract_stack() if f.filename.startswith(str(PACKAGE))]
        called[:] = [(Path(file).relative_to(PACKAGE).as_posix(), name) for file, name in stack]
        return forward(*args, **options)

    monkeypatch.setattr(MeMOTR, "forward", record)
    save_model(tiny_model(), tmp_path / "tiny.safetensors")
    write_video(tmp_path / "clip.mp4", [np.zeros((48, 64, 3), np.uint8)] * 2)
    options = ["--checkpoint", tmp_path / "tiny.safetensors", "--output", tmp_path / "out", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["memotr", "track", str(tmp_path / "clip.mp4"), *map(str, options)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()

    rows = re.findall(r"^\| (?:→ )?(`\w.*?\)) \|", text_of(ROOT / "docs/architecture.md"), re.MULTILINE)
    calls = re.findall(r"`(?:\w+\.)?(\w+)`(?:, or `[\w.]+` in a graph)? \(`([\w/.]+)`\)", " ".join(rows))
    first = called.index(("cli/track.py", "track"))
    assert [*called[first:], ("models/memotr.py", "forward")] == [(file, name) for name, file in calls]
    assert len(calls) - 1 == 6
