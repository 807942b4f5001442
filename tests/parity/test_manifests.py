"""Names and shapes of the published checkpoints: every manifest of the golden folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from memotr.build import build_model
from memotr.structures import ImageBatch
from memotr.weights.architecture import count_parameters, infer_config
from memotr.weights.checkpoint import SHARED_BOX_HEADS
from memotr.weights.model_files import load_model
from memotr.weights.pretrained import load_detector, tracker_names
from memotr.weights.published_names import published, published_state
from tests.parity import golden
from tests.parity.harness import FOLDER, Fixture, golden_state_dict

DETECTORS = sorted(FOLDER.glob("manifest_pretrained_*.json"))
TRACKERS = sorted(set(FOLDER.glob("manifest_*.json")) - set(DETECTORS))


def tensors(shapes):
    """Tensors of these shapes that take no memory."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def without_alias(names):
    return {name.replace(SHARED_BOX_HEADS, "bbox_embed.") for name in names}


@pytest.mark.parametrize("path", TRACKERS, ids=lambda path: path.stem)
def test_tracker(path):
    manifest = json.loads(path.read_text())
    theirs = tensors(manifest["state_dict"])
    model = build_model(infer_config(theirs, path.name))
    own = {name: list(tensor.shape) for name, tensor in published_state(model).items()}
    assert own == manifest["state_dict"]
    trainable = {name for name, parameter in published(model.named_parameters()).items() if parameter.requires_grad}
    assert without_alias(trainable) == without_alias(manifest["trainable"])
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["num_parameters"]
    assert count_parameters(theirs) == manifest["num_parameters"]


@pytest.fixture(scope="module", params=DETECTORS, ids=lambda path: path.stem)
def detector(request, tmp_path_factory):
    """A checkpoint of random tensors with a manifest's names and shapes: its state dict and its file."""
    state = {name: torch.rand(shape) for name, shape in json.loads(request.param.read_text()).items()}
    for name in state:
        if name.startswith(SHARED_BOX_HEADS):
            state[name] = state[name.removeprefix("transformer.decoder.")]
    path = tmp_path_factory.mktemp("detectors") / f"{request.param.stem}.pth"
    torch.save({"model": state}, path)
    yield state, path
    path.unlink()


@pytest.mark.parametrize("classes", [("person",), ("a", "b"), tuple("abcdefgh")], ids=len)
def test_detector(detector, classes):
    """Everything is loaded, to the bit, but what the number of classes rules out; the memory alone starts fresh."""
    state, path = detector
    config = infer_config(tracker_names(state), path.name).model_copy(update={"classes": classes})
    model = build_model(config)
    fresh = {name: tensor.clone() for name, tensor in published_state(model).items()}

    report = load_detector(model, path)

    rows = slice(1, len(classes) + 1)
    expected = {}
    for name, tensor in tracker_names(state).items():
        if not name.startswith("class_embed."):
            expected[name] = tensor
        else:
            expected[name] = fresh[name] if len(classes) > 3 else tensor[rows]
    for name, tensor in published_state(model).items():
        assert torch.equal(tensor, expected.get(name, fresh[name])), name
    assert {name.split(".")[0] for name in fresh.keys() - expected.keys()} == {"query_updater"}
    heads = {name for name in state if name.startswith("class_embed.")} if len(classes) > 3 else set()
    assert set(report.left_out) == heads
    assert set(report.initialised) == heads | {name for name in fresh if name.startswith("query_updater.")}
    assert set(report.loaded) == without_alias(fresh) - set(report.initialised)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dab", "deformable_detr"])
def test_full_size_checkpoint(name, tmp_path):
    """The published numbers, by way of a file as the authors' code leaves it and of nothing but that file."""
    golden_folder = Path(__file__).parents[1] / "golden"
    fixture = Fixture(golden_folder / f"frame_{name}_full_size.npz")
    manifest = json.loads((golden_folder / f"manifest_dancetrack_{name}.json").read_text())
    overwrite = {n.removeprefix("weights/"): fixture[n] for n in fixture.arrays if n.startswith("weights/")}
    state = golden_state_dict(manifest["state_dict"], fixture.meta["seed"], overwrite)
    path = tmp_path / "checkpoint_19.pth"
    torch.save({"model": state, "optimizer": {}, "scheduler": {}, "states": {"start_epoch": 20}}, path)
    model = load_model(path, device="cpu")
    path.unlink()
    size = fixture.meta["frame_sizes_hw"][0]
    images = ImageBatch.from_images([torch.from_numpy(golden.tensor("frame0", (3, *size), fixture.meta["seed"]))])
    with torch.inference_mode():
        output = model(images, [model.no_tracks()])[0]
    assert (output.logits - fixture["pred_logits"]).abs().max() < 1e-3
    assert (output.boxes - fixture["pred_boxes"]).abs().max() < 1e-4


def test_there_are_manifests():
    own = Path(__file__).parents[1] / "golden"
    assert len(list(own.glob("manifest_pretrained_*.json"))) == 2
    assert len(list(own.glob("manifest_*.json"))) == 5
