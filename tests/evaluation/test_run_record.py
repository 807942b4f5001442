"""What made the results in a folder."""

import json
from pathlib import Path

import pytest

from memotr.errors import UserError
from memotr.evaluation.run_record import RECORD, open_results_folder
from tests.builders import tiny_model


def test_a_record_without_a_setting_that_came_later_has_its_default(tmp_path: Path) -> None:
    model = tiny_model()
    open_results_folder(tmp_path, model, {"dataset": "a"}, "32")
    record = json.loads((tmp_path / RECORD).read_text())
    del record["tracking"]["max_tracks"]
    (tmp_path / RECORD).write_text(json.dumps(record))
    open_results_folder(tmp_path, model, {"dataset": "a"}, "32")
    record["tracking"]["miss_tolerance"] = 7
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"tracking\.miss_tolerance 7 → 30"):
        open_results_folder(tmp_path, model, {"dataset": "a"}, "32")


@pytest.mark.parametrize("text", ["[" * 3000, '{"a": "\\ud800"}', "{", "1" * 5000, '{"a\\nb": "c\\nd"}'])
def test_a_damaged_record_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(UserError, match="choose another --output") as error:
        open_results_folder(tmp_path, tiny_model(), {}, "32")
    assert "\n" not in str(error.value)
