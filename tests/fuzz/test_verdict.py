"""What counts as a fault; the same seed draws the same cases."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.cases import Case, draw
from tests.fuzz.hostile import MARKER
from tests.fuzz.mutate import KINDS, mutate
from tests.fuzz.targets import SECRET
from tests.fuzz.verdict import Outcome, judge

REFUSED = Outcome(2, b"", b"memotr: a.mp4: is no video\n", 0.1)
DONE = Outcome(0, b"wrote out/a.txt\n", b"", 0.1)
TRACEBACK = b"""Traceback (most recent call last):
  File "/a/src/memotr/io/seqinfo.py", line 12, in read
  File "/b/site-packages/yaml/reader.py", line 1, in peek
ValueError: bad
"""


def kinds(outcome: Outcome, target: str = "track video") -> list[str]:
    return [finding.kind for finding in judge(Case(target, ("track",)), outcome)]


def test_success_and_one_line_are_right() -> None:
    assert kinds(REFUSED) == []
    assert kinds(DONE) == []
    assert kinds(replace(DONE, stderr=b"memotr: warning: a.mp4 is damaged\n")) == []
    assert kinds(replace(REFUSED, code=1)) == []


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (replace(REFUSED, code=3), "exit code 3"),
        (replace(REFUSED, code=-11), "signal 11"),
        (replace(REFUSED, timed_out=True), "hang"),
        (replace(REFUSED, left=True), "processes left"),
        (replace(REFUSED, outside=("/elsewhere/x",)), "written outside"),
        (replace(REFUSED, outside=(f"/elsewhere/{MARKER}",)), "code was run"),
        (replace(REFUSED, code=1, stderr=TRACEBACK), "traceback ValueError"),
        (replace(REFUSED, stderr=b""), "last word is not ours"),
        (replace(REFUSED, stderr=REFUSED.stderr + b"libpng error: bad\n"), "last word is not ours"),
        (replace(DONE, stderr=b"[h264 @ 0x1] error\n"), "last word is not ours"),
        (replace(REFUSED, stderr=b"memotr: note: a\n"), "no error line"),
        (replace(REFUSED, stderr=b"memotr: a" * 1000), "endless line"),
        (replace(REFUSED, stderr=b"memotr: \x1b[31m\n"), "raw control characters in stderr"),
        (replace(DONE, stdout="\u202egnp.exe\n".encode()), "raw control characters in stdout"),
        (replace(REFUSED, stderr=f"memotr: rtsp://u:{SECRET}@x\n".encode()), "secret shown"),
    ],
)
def test_faults(outcome: Outcome, kind: str) -> None:
    assert kinds(outcome) == [kind]


def test_an_exit_code_that_only_sources_have() -> None:
    assert kinds(replace(REFUSED, code=1), "score") == ["exit code 1"]


def test_a_fault_is_known_by_where_it_happened() -> None:
    (finding,) = judge(Case("score", ()), replace(REFUSED, code=1, stderr=TRACEBACK))
    assert finding.key == "traceback ValueError @ memotr/io/seqinfo.py:read > yaml/reader.py:peek"


@pytest.mark.parametrize("content", ['{"time": NaN}\n', '{"time": 1\n', "[1]\n[Infinity]\n"])
def test_output_that_is_not_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    assert kinds(replace(DONE, out=tmp_path)) == ["output is not JSON"]


def test_the_same_seed_draws_the_same_cases(tmp_path: Path) -> None:
    for name, content in {"results/a.txt": "1,1,1,1,9,9,1,-1,-1,-1\n", "gt/a/seqinfo.ini": "[Sequence]\n"}.items():
        (tmp_path / "mot" / name).parent.mkdir(parents=True)
        (tmp_path / "mot" / name).write_text(content)
    cases = [draw(5, number, tmp_path, ["score"]) for number in range(50)]
    assert cases == [draw(5, number, tmp_path, ["score"]) for number in range(50)]
    assert len({(case.words, case.moves, *case.files.items()) for case in cases}) > 30
    assert [Case.from_json(case.to_json()) for case in cases] == cases


@pytest.mark.parametrize("kind", [*KINDS, "mp4"])
def test_damaged_files_can_be_damaged_further(kind: str) -> None:
    for number in range(50):
        assert isinstance(mutate(f"a.{kind}", b"PK\x03\x04[1, {", Random(number), [b"{}"]), bytes)


def test_json_keeps_its_form_where_only_a_value_changes() -> None:
    data = json.dumps([{"a": 1, "b": [1, 2]}] * 3).encode()
    changed = [mutate("a.json", data, Random(number)) for number in range(100)]
    readable = 0
    for one in changed:
        with suppress(ValueError, RecursionError):
            readable += json.loads(one) != json.loads(data)
    assert 20 < readable < 95
