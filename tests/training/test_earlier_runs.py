"""Compatibility of saved files: a run of an earlier commit continues with the same results."""

from __future__ import annotations

import json
import shutil

import pytest

from memotr.training.run_state import LAST, read_state
from tests.training.builders import write_videos
from tests.training.earlier_runs import (
    VARIANTS,
    describe,
    earlier_record,
    earlier_run,
    machine,
    make_network,
    outcome,
    resume,
)


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def record(variant):
    return json.loads(earlier_record(variant).read_text())


def assert_close(found, expected):
    """The same names in the same order, and sums of absolute values that differ by rounding alone."""
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-2)


def test_optimizer_groups_and_positions_are_those_of_the_record(variant, record):
    """A checkpoint identifies the moments and the group of a parameter by its position only."""
    found = describe(*make_network(variant))["parameters"]
    assert list(found) == list(record["network"]["parameters"])
    assert found == record["network"]["parameters"]


def test_a_seed_gives_the_same_weights(variant, record):
    found = describe(*make_network(variant))
    assert_close(found["state"], record["network"]["state"])
    if record["machine"] == machine():
        assert found["digest"] == record["network"]["digest"]


def test_a_run_record_knows_the_same_weights(variant, record):
    assert describe(*make_network(variant))["fingerprint"] == record["network"]["fingerprint"]


def test_a_run_of_an_earlier_commit_resumes_with_the_recorded_outcome(variant, record, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copyfile(earlier_run(variant), tmp_path / "run" / LAST)
    resume(tmp_path / "run", write_videos(tmp_path / "data"))
    found, expected = outcome(tmp_path / "run"), record["run"]
    for part, values in expected["sums"].items():
        assert_close(found["sums"][part], values)
    if record["machine"] == machine():
        assert found["digests"] == expected["digests"]
    before, after = read_state(earlier_run(variant)), read_state(tmp_path / "run")
    assert list(after.model) == list(before.model)
    assert list(after.average["average"]) == list(before.average["average"])
