"""Numbers beyond all use are refused in one line before anything is begun."""

import sys

import pytest

from memotr.cli import main

HUGE = ("1000000001", "9223372036854775808", "1" * 5000)
OPTIONS = [
    ("track x --checkpoint y", ("--start", "--end", "--stride", "--max-frames", "--batch", "--miss-tolerance")),
    ("score a b", ("--workers",)),
    ("compare a b", ("--resamples",)),
    ("bench", ("--rounds", "--threads", "--tracks")),
    ("data synth out", ("--frames", "--workers", "--classes")),
    ("eval --dataset a --checkpoint b", ("--batch", "--devices", "--num-nodes")),
    ("submit --dataset a --checkpoint b", ("--batch",)),
    ("train tiny", ("--devices", "--num-nodes", "--val-every")),
]
TEXTS = [
    ("bench operator --size 999999999x999999999", "10,000 pixels"),
    (f"bench operator --size {'1' * 5000}x2", "write two whole numbers"),
    ("bench operator --size 0x8", "10,000 pixels"),
    ("data synth out --size 999999999x64", "size 999999999"),
    (f"data synth out --size {'1' * 5000}x64", "write two whole numbers"),
    ("data synth out --figures 2-999999999", "figures"),
    (f"data synth out --splits train={'1' * 5000}", "write each once"),
    ("data synth out --splits train=999999999", "splits"),
    (f"data synth out --splits {'x' * 300}=1", "no valid folder name"),
    ("data synth out --seed 9223372036854775808", "--seed"),
    ("compare a b --seed 9223372036854775808", "--seed"),
]


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["memotr", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n")) == (2, 1)
    return told


@pytest.mark.parametrize("value", HUGE, ids=("10^9", "2^63", "5000 digits"))
@pytest.mark.parametrize(("command", "option"), [(command, o) for command, options in OPTIONS for o in options])
def test_numbers(command: str, option: str, value: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    refused(monkeypatch, capsys, [*command.split(), option, value])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("command", "told"), TEXTS, ids=lambda text: text[:60])
def test_texts(command: str, told: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(monkeypatch, capsys, command.split())
    assert not list(tmp_path.iterdir())
