"""Losses, gradients, decisions and weights over five steps are those of an earlier commit."""

import json

import pytest

from tests.training.test_distributed import start
from tests.training.trajectory import ON_TWO_RANKS, SCENES, VARIANTS, record_of, take_steps

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
def test_frame_by_frame(variant, records, scene):
    assert_same(take_steps(variant, scene), records[scene])


@pytest.mark.parametrize("scene", SCENES)
def test_all_frames_encoded_at_once(variant, records, scene):
    assert_same(take_steps(variant, scene, frames_at_once=4), records[scene])


@pytest.mark.parametrize("frames", [1, 3])
def test_recomputed_activations(variant, records, frames):
    assert_same(take_steps(variant, "prefix", PARTS, frames_at_once=frames), records["prefix"])


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    file = tmp_path_factory.mktemp("ranks") / "steps.json"
    start("tests.training.trajectory", file)
    return json.loads(file.read_text())


def test_two_ranks(two_ranks, variant, records):
    assert_same(two_ranks[variant], records[ON_TWO_RANKS], ids=False)
