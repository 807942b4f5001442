"""Options that several commands share have one name everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from memotr.cli import app, main
from memotr.config import Config, load_config
from memotr.weights.model_files import load_model

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]

RANKED = ("train", "eval", "submit")
"""Commands that run on several devices."""

CONFIGURED = ("track", "demo", *RANKED, "convert", "export", "bench")
"""Commands that take settings of the configuration."""


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

    monkeypatch.setattr("memotr.training.train.train", lambda *_, device, **_options: stop(device))
    monkeypatch.setattr("memotr.training.devices.make_fabric", lambda device, *_: stop(device))
    for name in ("load_benchmark", "join_benchmarks"):
        monkeypatch.setattr(f"memotr.evaluation.benchmark.{name}", lambda *_, **_options: NoSequences)
    monkeypatch.setattr("memotr.submission.server_archive.submission_format", lambda _names: "mot17")
    monkeypatch.setattr("memotr.submission.server_archive.check_split", lambda *_, **_options: [])
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


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_with_settings_takes_set(command: str) -> None:
    options = options_of(command) if command != "data" else {}
    assert ("--set" in options) == (command in CONFIGURED)
    if command in CONFIGURED:
        assert options["--set"].multiple
        assert options["--set"].help == options_of("track")["--set"].help


SETTING = "tracking.det_thresh"


@pytest.mark.parametrize(
    ("line", "called"),
    [
        ("train tiny {}=0.1", "memotr.training.train.train"),
        ("train {}=0.1 --resume run", "memotr.training.train.train"),
        ("bench frame --quick", "memotr.bench.parts.run_benchmark"),
        ("export synthdance a.onnx", "memotr.export.export_model.export_model"),
    ],
)
def test_set_reaches_the_configuration(
    line: str, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last one counts, and what is set counts more than settings without a name."""
    monkeypatch.chdir(tmp_path)
    found: list[Any] = []

    def stop(*arguments: Any, **_options: Any) -> None:
        found.extend(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(called, stop)
    monkeypatch.setattr("memotr.training.resume.read_state", lambda _run: State())
    more = ("--set", f"{SETTING}=0.3", "--set", f"{SETTING}=0.4")
    assert run(monkeypatch, *line.format(SETTING).split(), *more) == 130, capsys.readouterr().err
    config = found[0] if isinstance(found[0], Config) else found[0].config
    assert config.tracking.det_thresh == 0.4


class State:
    settings = load_config("tiny").model_dump(mode="json")


@pytest.mark.parametrize("command", ["eval", "submit"])
def test_set_reaches_the_evaluation(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def stop(_fabric: object, _benchmark: object, _source: object, settings: list[str], *_: object) -> None:
        given.extend(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("memotr.evaluation.checkpoints.Evaluation", stop)
    for name in ("load_benchmark", "join_benchmarks"):
        monkeypatch.setattr(f"memotr.evaluation.benchmark.{name}", lambda *_, **_options: NoSequences)
    monkeypatch.setattr("memotr.submission.server_archive.submission_format", lambda _names: "mot17")
    monkeypatch.setattr("memotr.submission.server_archive.check_split", lambda *_, **_options: [])
    line = f"{command} a.b=1 --dataset a --checkpoint b --device cpu --set c.d=2 --set e.f=3"
    assert run(monkeypatch, *line.split()) == 130
    assert given == ["a.b=1", "c.d=2", "e.f=3"]


@pytest.mark.parametrize("train", [False, True])
def test_set_reaches_the_demo(train: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both the training and the tracker: a training that is done is not done again."""
    given: list[tuple[Any, ...]] = []

    def train_for_demo(_output: Path, device: str, settings: list[str]) -> tuple[Path, int]:
        given.append((device, settings))
        return tmp_path / "w", 0

    def run_demo(*_: object, device: str, settings: list[str], easy: bool = False) -> None:
        given.append((device, settings))
        assert easy == train

    monkeypatch.setattr("memotr.demo.train_for_demo.train_for_demo", train_for_demo)
    monkeypatch.setattr("memotr.demo.run_demo.run_demo", run_demo)
    options = ["--train"] * train
    assert run(monkeypatch, "demo", *options, "--set", f"{SETTING}=0.4", "--device", "cpu") == 0
    assert given == [("cpu", [f"{SETTING}=0.4"])] * (1 + train)


def test_a_setting_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a.safetensors"
    assert run(monkeypatch, "convert", "synthdance", target, "--set", "tracking.det_tresh=0.4") == 2
    assert "unknown key 'tracking.det_tresh'; did you mean 'det_thresh'?" in capsys.readouterr().err
    assert not target.exists()


def test_converted_weights_keep_overridden_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.safetensors"
    assert (
        run(monkeypatch, "convert", "synthdance", target, "--set", f"{SETTING}=0.25", "--set", "classes=[dancer]") == 0
    )
    config = load_model(target, device="cpu").config
    assert (config.tracking.det_thresh, config.classes) == (0.25, ("dancer",))


@pytest.mark.parametrize(
    ("line", "shown", "heavy"),
    [
        ("--help", "track", ["numpy", "pydantic", "torch"]),
        ("--version", "memotr ", ["numpy", "pydantic", "torch"]),
        ("weights list", "dancetrack", ["cv2", "numpy", "torch"]),
        ("weights where", "memotr", ["cv2", "numpy", "torch"]),
    ],
)
def test_what_shows_texts_loads_nothing_heavy(line: str, shown: str, heavy: list[str]) -> None:
    code = f"""if True:
        import sys
        from memotr.cli import app
        app(sys.argv[1:], standalone_mode=False)
        print(*set({heavy}) & set(sys.modules), file=sys.stderr)"""
    command = [sys.executable, "-c", code, *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stderr, shown in done.stdout) == ("\n", True)
