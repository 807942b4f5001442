"""Options that several commands share have one name everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from memotr.cli import app, main

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]

RANKED = ("train", "eval", "submit")
"""Commands that run on several devices."""


def options_of(command: str) -> dict[str, Any]:
    return {name: parameter for parameter in COMMANDS[command].params for name in parameter.opts}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["memotr", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize("command", ["track", "bench", "demo", *RANKED])
def test_every_command_that_computes_takes_device(command: str) -> None:
    assert options_of(command)["--device"].default == "auto"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_former_name_of_the_device_is_hidden(command: str) -> None:
    for name, parameter in [] if command == "data" else options_of(command).items():
        assert "accelerator" not in f"{name} {getattr(parameter, 'help', '')}"


@pytest.mark.parametrize("spelling", ["--device mps", "--accelerator mps", "--accelerator=mps"])
@pytest.mark.parametrize(
    "command", ["train tiny", "eval --dataset a --checkpoint b", "submit --dataset a --checkpoint b"]
)
def test_both_names_of_the_device(
    command: str, spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given: list[str] = []

    def stop(device: str) -> None:
        given.append(device)
        raise KeyboardInterrupt

    monkeypatch.setattr("memotr.training.run.train", lambda *_, device, **_options: stop(device))
    monkeypatch.setattr("memotr.training.devices.make_fabric", lambda device, *_: stop(device))
    for name in ("load_benchmark", "join_benchmarks"):
        monkeypatch.setattr(f"memotr.evaluation.benchmark.{name}", lambda *_, **_options: NoSequences)
    monkeypatch.setattr("memotr.submission.archive.submission_format", lambda _names: "mot17")
    assert run(monkeypatch, *command.split(), *spelling.split()) == 130
    assert given == ["mps"]
    told = capsys.readouterr().err
    assert told.count("memotr: --accelerator is now --device\n") == ("accelerator" in spelling)
    assert told.count("--device") == ("accelerator" in spelling)


class NoSequences:
    sequences = ()


def test_the_former_name_is_noted_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where it is given twice, and by the first of several ranks only."""
    command = ("train", "no-such-preset", "--accelerator", "cpu", "--accelerator=cpu")
    for variable, value, count in (("RANK", "0", 1), ("LOCAL_RANK", "1", 0), ("SLURM_PROCID", "3", 0)):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            assert run(patch, *command) == 2
        assert capsys.readouterr().err.count("--accelerator is now --device") == count


def test_the_former_name_is_refused_where_it_never_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "track", "a.mp4", "--checkpoint", "b", "--accelerator", "cpu") == 2
    assert "No such option: --accelerator" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "train tiny", "eval --dataset a", "submit --dataset a"])
def test_only_a_single_device_has_a_number(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command.split(), "--device", "cuda:1") == 2
    assert "Invalid value for '--device'" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = """if True:
        import sys
        from memotr.cli import app
        app(["--help"], standalone_mode=False)
        print(*{"numpy", "pydantic", "torch"} & set(sys.modules), file=sys.stderr)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stderr, "track" in done.stdout) == ("\n", True)
