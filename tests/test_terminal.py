"""Text from strangers on the terminal, and terminals that do not take it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from matplotlib.figure import Figure
from rich.table import Table

from memotr.consoles import SafeConsole, progress_bar
from memotr.documents import parse_json
from memotr.terminal import ESCAPED, ESCAPED_IN_JSON, guarded_streams, note, plot_text, printable, say

HOSTILE = "a\x1b[31m\r\n\x9bb\u202ec\udcffd\u2028e\x00\ud800"
SHOWN = r"a\x1b[31m\x0d\x0a\x9bb\u202ec\xffd\u2028e\x00\ud800"


def test_control_characters_are_shown_as_escapes() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("höhe × breite 人 👩‍🚀 [/red]") == "höhe × breite 人 👩‍🚀 [/red]"


def test_files_have_the_escapes_of_the_terminal() -> None:
    name = "caf\udce9 \\ é.jpg"  # the backslash and the letter are characters like any other
    assert name.encode("utf-8", ESCAPED).decode() == printable(name) == r"caf\xe9 \ é.jpg"
    written = json.dumps([name], ensure_ascii=False).encode("utf-8", ESCAPED_IN_JSON)
    assert parse_json(written, "a.json") == [printable(name)]


def test_printed_lines_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE, "b")
    note(HOSTILE)
    printed = capsys.readouterr()
    assert printed.out == f"{SHOWN}\nb\n"
    assert printed.err == f"memotr: {SHOWN}\n"


def test_very_long_notes_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    note("begin" + 10_000 * "x" + "end")
    shown = capsys.readouterr().err
    assert len(shown) < 2100
    assert shown.startswith("memotr: begin")
    assert shown.endswith("end\n")


def test_plots_show_names_as_they_are() -> None:
    figure = Figure()
    figure.suptitle(plot_text("$\\frac a$ \udcff"))
    figure.savefig(io.BytesIO(), format="png")
    figure.suptitle("$\\frac a$")
    with pytest.raises(ValueError, match="frac"):
        figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("terminal", [False, True])
def test_tables_and_bars_show_names_as_they_are(terminal: bool) -> None:
    stream = io.StringIO()
    target = SafeConsole(file=stream, force_terminal=terminal, width=200, color_system=None)
    table = Table("[bold]column", title="[/red]")
    table.add_row(HOSTILE.replace("\n", "").replace("\ud800", ""))
    target.print(table)
    target.print("[/red] :smile:")
    with progress_bar(target, "{task.fields[name]}", transient=False, visible=True) as bar:
        bar.add_task("[/red]\x1b]0;title\x07", total=1, name="[/red]")
    shown = stream.getvalue()
    assert "[bold]column" in shown
    assert shown.count("[/red]") >= 4
    assert ":smile:" in shown
    assert r"a\x1b[31m" in shown
    assert r"[/red]\x1b]0" in shown
    assert "\x1b[31m" not in shown
    assert "\x1b]0" not in shown


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_bars_are_drawn_on_terminals_only(terminal: bool) -> None:
    stream = io.StringIO()
    with progress_bar(SafeConsole(file=stream, force_terminal=terminal, width=80), transient=False) as bar:
        bar.add_task("reading", total=1)
    assert ("reading" in stream.getvalue()) == terminal
    with progress_bar(None) as bar:
        assert list(bar.track("ab", description="reading")) == ["a", "b"]


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "2x3 ... -> 人"), ("cp932", "2×3 … → 人"), ("utf-8", "")])
def test_signs_that_an_encoding_lacks_are_replaced(encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with guarded_streams():
        say("2×3 … → 人")
    expected = (shown or "2×3 … → 人").encode(encoding, "backslashreplace")
    assert raw.getvalue() == expected + b"\n"


def memotr(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = line.replace("memotr", f"{sys.executable} -m memotr")
    return subprocess.run(["bash", "-c", command], capture_output=True, env=os.environ | environment, check=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a shell and /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("memotr --version >&-", 0, b""),
        ("memotr --version >&- 2>&- <&-", 0, b""),
        ("memotr score missing missing 2>&-", 2, b""),
        ("memotr score missing missing 2>/dev/full", 2, b""),
        ("memotr --version >/dev/full", 2, b"memotr: standard output: No space left on device; free some space\n"),
        ("set -o pipefail; memotr --help | true", 0, b""),
        ("set -o pipefail; memotr info synthdance | head -1", 0, b""),
    ],
)
def test_streams_that_take_nothing(line: str, code: int, error: bytes) -> None:
    ended = memotr(line)
    assert (ended.returncode, ended.stderr) == (code, error)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_help_on_an_ascii_console() -> None:
    ended = memotr("memotr bench --help", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert ended.returncode == 0, ended.stderr
    assert b"Heightxwidth" in ended.stdout
    assert ended.stdout.isascii()
