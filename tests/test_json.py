"""JSON that is written is JSON: NaN and infinity, which Python writes by default, are no part of it."""

import ast
from pathlib import Path

import memotr

PACKAGE = Path(memotr.__file__).parent
NOT_WRITTEN = {"training/resume.py"}  # options on their way to the configuration, which refuses NaN


def test_no_file_can_hold_nan() -> None:
    checked = 0
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.relative_to(PACKAGE).as_posix() in NOT_WRITTEN:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump"):
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("allow_nan") == "False", f"{file}:{node.lineno}"
                checked += 1
    assert checked > 5
