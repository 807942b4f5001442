"""Judge what a command did: with any input it succeeds, or fails with one clear line."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.cases import Case
from tests.fuzz.hostile import MARKER
from tests.fuzz.targets import SECRET, TARGETS

MAX_LENGTH = 2050
"""Largest length of an error line in characters."""

OURS = ("memotr: ",)
LIBJPEG = ("Corrupt JPEG data: ", "Warning: unknown JFIF")
NOTES = ("memotr: note: ", "memotr: warning: ")
PROGRESS = re.compile(r"^\s*$|\d+/(\d+|\?)|frames/s|━|step \d|^epoch |^wrote |^packing|^training|^ ?\S+ .*(ids|tracks)")
ERROR = re.compile(r"((\w+\.)*[A-Z]\w*(Error|Exception|Exit|Interrupt|Warning|File)|\w+\.error)(:|$)")
FRAME = re.compile(r'File "([^"]+)", line \d+,? in (\S+)')


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        code: exit code, or minus the signal.
        stdout, stderr: bytes.
        seconds: of wall-clock time.
        timed_out: it exceeded the time limit.
        left: some of its processes were still running.
        outside: changed paths outside of its output folder.
        out: its output folder.
    """

    code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    timed_out: bool = False
    left: bool = False
    outside: tuple[str, ...] = ()
    out: Path | None = None


@dataclass(frozen=True)
class Finding:
    """One fault; ``kind`` and ``place`` identify it across cases."""

    kind: str
    place: str
    detail: str

    @property
    def key(self) -> str:
        return f"{self.kind} @ {self.place}"


def judge(case: Case, outcome: Outcome) -> list[Finding]:
    """Return all faults of an outcome, the gravest first."""
    return list(_wrong(case, outcome))


def _wrong(case: Case, outcome: Outcome) -> Iterator[Finding]:
    stderr = outcome.stderr.decode("utf-8", "replace")
    stdout = outcome.stdout.decode("utf-8", "replace")
    place = case.target
    executed = [path for path in outcome.outside if Path(path).name == MARKER]
    if executed or (outcome.out is not None and any(outcome.out.rglob(MARKER))):
        yield Finding("code was run", place, str(executed))
    if others := [path for path in outcome.outside if path not in executed]:
        yield Finding("written outside", place, ", ".join(map(ascii, others[:3])))
    if outcome.timed_out:
        yield Finding("hang", _innermost(stderr) or place, f"after {outcome.seconds:.0f} s")
    elif outcome.code < 0:
        yield Finding(f"signal {-outcome.code}", _innermost(stderr) or place, _last_line(stderr))
    elif "Traceback (most recent call last)" in stderr:
        error = ([line for line in stderr.splitlines() if ERROR.match(line)] or [_last_line(stderr)])[-1]
        yield Finding(f"traceback {error.partition(':')[0][:60]}", _innermost(stderr), error[:300])
    else:
        yield from _wrong_words(place, TARGETS[case.target].codes, outcome, stderr)
    if outcome.left:
        yield Finding("processes left", place, "")
    for name, text in (("stdout", stdout), ("stderr", stderr)):
        if odd := sorted({letter for letter in text if letter != "\n" and _is_control(letter)}):
            line = (
                next(line for line in text.splitlines() if any(letter in line for letter in odd))
                if odd[0] != "\r"
                else ""
            )
            yield Finding(f"raw control characters in {name}", place, f"{odd[:5]!a} in {line[:200]!a}")
        if SECRET in text:
            yield Finding(
                "secret shown", place, ascii(next(line for line in text.splitlines() if SECRET in line)[:200])
            )
    yield from _wrong_files(place, outcome)


def _wrong_words(place: str, codes: tuple[int, ...], outcome: Outcome, stderr: str) -> Iterator[Finding]:
    """Check exit code and messages of a command that ended by itself."""
    lines = [line for line in stderr.split("\n") if line.strip()]
    if outcome.code:  # a progress bar is drawn for the last time when its command has said everything
        lines = [line for line in lines if line.startswith(OURS) or not PROGRESS.search(line)]
    else:  # libjpeg's remarks on images that it decodes all the same come from C, whenever it likes
        lines = [line for line in lines if not line.startswith(LIBJPEG)]
    last = lines[-1] if lines else ""
    if outcome.code not in codes:
        yield Finding(f"exit code {outcome.code}", place, last[:300])
    elif not last.startswith(OURS) and (outcome.code or (last and not PROGRESS.search(last))):
        yield Finding("last word is not ours", place, f"code {outcome.code}: {last[:300]!a}")
    elif outcome.code and last.startswith(NOTES):
        yield Finding("no error line", place, ascii(last[:300]))
    if len(last) > MAX_LENGTH:
        yield Finding("endless line", place, f"{len(last)} characters: {last[:200]!a}…")


def _wrong_files(place: str, outcome: Outcome) -> Iterator[Finding]:
    """Check the output of a command that succeeded: valid JSON, no unfinished files."""
    if outcome.out is None or outcome.code not in (0, 1):
        return
    for file in sorted(outcome.out.rglob("*")):
        if file.suffix == ".part":
            yield Finding("unfinished file left", place, file.name)
        if file.suffix in (".json", ".jsonl") and file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            try:
                for part in text.splitlines() if file.suffix == ".jsonl" else [text]:
                    json.loads(part, parse_constant=_refuse)
            except ValueError as error:
                yield Finding("output is not JSON", place, f"{file.name!a}: {error}")


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _is_control(letter: str) -> bool:
    """Return whether a terminal interprets the character: controls, bidirectional overrides, line separators."""
    return (
        unicodedata.category(letter) in ("Cc", "Zl", "Zp")
        or "\u202a" <= letter <= "\u202e"
        or "\u2066" <= letter <= "\u2069"
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _innermost(text: str) -> str:
    """Return the innermost frame of this package in a traceback, and the innermost frame at all."""
    dumped = "most recent call first" in text
    frames = FRAME.findall(text)
    if not frames:
        return ""
    frames = [(re.sub(r".*/(site-packages|src|lib/python[\d.]+)/", "", file), name) for file, name in frames]
    frames = [frame for frame in frames if not frame[0].endswith(("tests/fuzz/sandbox.py",))] or frames
    frames = frames if dumped else frames[::-1]
    own = next((frame for frame in frames if frame[0].startswith("memotr/")), None)
    texts = [f"{file}:{name}" for file, name in dict.fromkeys(filter(None, (own, frames[0])))]
    return " > ".join(texts)
