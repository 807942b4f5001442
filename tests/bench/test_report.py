import json

import pytest
from rich.console import Console

from memotr.bench.measure import Spread
from memotr.bench.report import Report, Table
from memotr.errors import UserError


def table():
    return Table(
        "A title",
        [
            {"contender": "baseline", "ms": Spread.of([3.0, 1.0, 1234.5]), "difference": ""},
            {"contender": "ours", "ms": Spread.of([0.5]), "difference": 2e-6},
        ],
        "A note.",
    )


def test_a_table_has_the_same_content_in_markdown_terminal_and_json(tmp_path):
    report = Report({"processor": "an abacus"}, {"frame": [table()]})
    markdown, plain = report.write(tmp_path / "new")
    text = markdown.read_text()
    assert "- processor: an abacus" in text
    assert "| baseline | 3 (1–1,234) |  |\n| ours | 0.5 (0.5–0.5) | 2.0e-06 |" in text
    assert "| --- | ---: | ---: |" in text, "numbers to the right"
    row = json.loads(plain.read_text())["parts"]["frame"][0]["rows"][0]
    assert row == {
        "contender": "baseline",
        "ms": {"median": 3.0, "min": 1.0, "max": 1234.5, "values": [3.0, 1.0, 1234.5]},
        "difference": "",
    }
    console = Console(record=True, width=100)
    console.print(table().rich())
    assert "3 (1–1,234)" in console.export_text()


def test_rows_have_the_same_columns():
    with pytest.raises(ValueError, match="columns"):
        Table("A title", [{"a": 1}, {"b": 1}])


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match="taken"):
        Report({}).write(tmp_path / "taken")
