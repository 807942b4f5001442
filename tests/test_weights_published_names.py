"""The table of published names, in both directions."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain

import pytest
import torch
from safetensors import safe_open

from memotr.config import ModelConfig
from memotr.models.queries import QUERY_VARIANTS
from memotr.weights.checkpoint import SHARED_BOX_HEADS
from memotr.weights.model_files import load_model, save_model
from memotr.weights.published_names import ORDER, PREFIXES, load_published, published_name, published_state
from tests.builders import tiny_model
from tests.parity.harness import FOLDER


@pytest.fixture(params=QUERY_VARIANTS)
def variant(request):
    return request.param


def test_every_variant_of_the_configuration_has_a_table():
    assert PREFIXES.keys() == QUERY_VARIANTS.keys()
    for variant in PREFIXES:
        assert ModelConfig(variant=variant).variant == variant


def test_no_prefix_is_ambiguous():
    """A name is translated without its model, so no prefix of ours may begin another, in any variant."""
    ours = [row[0] for row in chain.from_iterable(PREFIXES.values())]
    for prefix in ours:
        assert sum(other.startswith(prefix) for other in ours) == 1
    for variant, rows in PREFIXES.items():
        names = [name for name, _ in tiny_model(variant).named_parameters()]
        for prefix, _ in rows:
            assert any(name.startswith(prefix) for name in names), prefix


def test_names_of_the_authors_files_in_their_order(variant):
    """The order is the documented one; that files of earlier commits have it, too, tests/training holds."""
    manifest = json.loads((FOLDER / f"manifest_dancetrack_{variant.replace('-', '_')}.json").read_text())
    places = []
    for name in published_state(tiny_model(variant)):
        assert name in manifest["state_dict"] or name.startswith("backbone."), name  # of another size here
        places.append(next(place for place, prefix in enumerate(ORDER) if name.startswith(prefix)))
    assert places == sorted(places)


def test_there_and_back(variant):
    model, other = tiny_model(variant), tiny_model(variant, seed=1)
    state = published_state(model)
    assert len(state) == len(model.state_dict())
    load_published(other, state)
    assert all(tensor.equal(other.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert [published_name(name) for name in state] == list(state), "published names stay as they are"
    with pytest.raises(RuntimeError, match="extra"):
        load_published(other, {**state, "extra": torch.zeros(1)})


def test_files_have_published_names(variant, tmp_path):
    model = tiny_model(variant)
    save_model(model, tmp_path / "tracker.safetensors")
    with safe_open(tmp_path / "tracker.safetensors", "pt") as file:
        found = Counter(file.keys())
    assert found == Counter(name for name in published_state(model) if not name.startswith(SHARED_BOX_HEADS))
    assert not any(name.startswith("queries.") for name in found)


@pytest.mark.parametrize("wrapper", ["", "_orig_mod.", "module."])
def test_a_state_dict_of_a_model_in_memory_is_read_as_well(variant, wrapper, tmp_path):
    model = tiny_model(variant)
    torch.save({wrapper + name: tensor for name, tensor in model.state_dict().items()}, tmp_path / "bare.pth")
    loaded = load_model(tmp_path / "bare.pth", config=model.config, device="cpu").state_dict()
    assert all(tensor.equal(loaded[name]) for name, tensor in model.state_dict().items())
