"""Losses, gradients, decisions and weights over five steps are those of an earlier commit."""

import json

import pytest

from tests.training.test_distributed import start
from tests.training.trajectory import SCENES, VARIANTS, WITHOUT_DRAWS, record_of, take_steps

PARTS = ("backbone", "encoder", "decoder")


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def records(variant):
    return json.loads(record_of(variant).read_text())


def assert_same(found, expected, *, ids=True):
    for number, (step, wanted) in enumerate(zip(found["steps"], expected["steps"], strict=True)):
        for name in ("losses", "norms"):
            assert step[name] == pytest.approx(wanted[name], rel=1e-5), f"{name} of step {number}"
        if ids:
            assert step["ids"] == wanted["ids"], f"ids of step {number}"
    assert found["moved"] == pytest.approx(expected["moved"], rel=1e-5)


@pytest.mark.parametrize("scene", SCENES)
def test_a_process(variant, records, scene):
    assert_same(take_steps(variant, scene), records[scene])


@pytest.mark.parametrize("scene", ["plain", "prefix"])
def test_recomputed_activations(variant, records, scene):
    assert_same(take_steps(variant, scene, PARTS), records[scene])


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    file = tmp_path_factory.mktemp("ranks") / "steps.json"
    start("tests.training.trajectory", file)
    return json.loads(file.read_text())


@pytest.mark.parametrize("scene", WITHOUT_DRAWS)
def test_two_ranks(two_ranks, variant, records, scene):
    assert_same(two_ranks[f"{variant} {scene}"], records[scene], ids=False)
