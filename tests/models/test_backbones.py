"""Two kinds of backbones behind one interface, and any module that has it."""

import socket

import numpy as np
import pytest
import torch
from torch import nn

from memotr.build import build_model
from memotr.config import load_config
from memotr.errors import UserError
from memotr.models.inference import for_inference
from memotr.models.levels import level_shapes
from memotr.models.resnet import ResNetBackbone
from memotr.tracking.tracker import Tracker
from memotr.weights.convert import convert
from memotr.weights.describe import describe
from memotr.weights.model_files import load_model, save_model
from memotr.weights.pretrained import load_backbone
from tests.builders import random_images, random_tracks, tiny_model

CONVNEXT = {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 24, 32]}
SWIN = {"depths": [1, 1, 2, 1], "embed_dim": 8, "num_heads": [1, 1, 2, 2], "window_size": 4}
RESNET = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 24, 32], "embedding_size": 8, "layer_type": "basic"}
DINO = {"num_hidden_layers": 3, "hidden_size": 16, "num_attention_heads": 2, "patch_size": 16}
KINDS = [("convnext", CONVNEXT), ("swin", SWIN), ("resnet", RESNET), ("dinov2", DINO)]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Nothing may be downloaded."""

    def refuse(*_):
        raise AssertionError("a backbone must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def settings(kind, config):
    return load_config("tiny").model.backbone.model_validate({"name": f"transformers:{kind}", "config": config})


def small_model(kind="convnext", config=CONVNEXT, **model):
    pytest.importorskip("transformers")
    return tiny_model(backbone=settings(kind, config), **model)


def tracks_of(model, frames=3):
    tracker = Tracker(model, det_thresh=0.5, track_thresh=0.5, min_area=0)
    rng = np.random.default_rng(0)
    return [tracker.update(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)).boxes for _ in range(frames)]


@pytest.mark.parametrize(("kind", "config"), KINDS, ids=[kind for kind, _ in KINDS])
def test_channels_and_strides_describe_the_feature_maps(kind, config):
    backbone = small_model(kind, config).backbone
    maps = backbone(torch.zeros(1, 3, 96, 160))
    assert [m.shape[1] for m in maps] == list(backbone.channels)
    assert [m.shape[2:] for m in maps] == [(96 // s, 160 // s) for s in backbone.strides]
    assert backbone.strides == ((16, 16, 16) if kind == "dinov2" else (8, 16, 32))


@pytest.mark.parametrize(("kind", "config"), KINDS, ids=[kind for kind, _ in KINDS])
def test_every_trained_parameter_has_a_gradient(kind, config):
    backbone = small_model(kind, config).train().backbone
    sum(m.sum() for m in backbone(torch.randn(2, 3, 64, 96))).backward()
    without = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize(("kind", "config"), KINDS, ids=[kind for kind, _ in KINDS])
def test_inference_gives_the_same_numbers(kind, config, dtype):
    model = small_model(kind, config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images, tracks = random_images([(60, 90)]), [random_tracks(3)]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
        found, wanted = for_inference(model, dtype)(images, tracks), model(images, tracks)
    limit = 1e-4 if dtype is None else 0.05
    torch.testing.assert_close(found.boxes.float(), wanted.boxes.float(), atol=limit, rtol=0)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_recomputing_changes_no_gradient():
    model = small_model("swin", SWIN).train()
    pixels, gradients = torch.randn(1, 3, 64, 96), []
    for parts in ((), ("backbone",)):
        model.recompute_activations(parts).zero_grad()
        torch.manual_seed(2)  # of stochastic depth
        sum(m.square().sum() for m in model.backbone(pixels)).backward()
        gradients.append([p.grad.clone() for p in model.backbone.parameters() if p.grad is not None])
    assert all(a.equal(b) for a, b in zip(*gradients, strict=True))


class TwoMaps(nn.Module):
    """The least that a backbone can be."""

    channels, strides, recompute = (4, 6), (16, 32), False

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 16, 16), nn.Conv2d(4, 6, 2, 2)

    def forward(self, pixels):
        fine = self.fine(pixels)
        return [fine, self.coarse(fine)]

    def prepare(self):
        return self


def test_any_module_with_the_interface_is_a_backbone(monkeypatch):
    monkeypatch.setattr("memotr.build.build_backbone", lambda config: TwoMaps())
    model = tiny_model(num_levels=3)
    assert [p[0].in_channels for p in model.feature_projs] == [4, 6, 6]
    assert level_shapes(64, 96, model.backbone.strides, 3) == ((4, 6), (2, 3), (1, 2))
    assert any(len(boxes) for boxes in tracks_of(model))


def test_a_tracker_is_saved_and_loaded_with_its_backbone(tmp_path):
    model = small_model()
    save_model(model, tmp_path / "tracker.safetensors")
    loaded = load_model(tmp_path / "tracker.safetensors")
    assert loaded.config.model.backbone == model.config.model.backbone
    found, wanted = tracks_of(loaded), tracks_of(model)
    assert any(len(boxes) for boxes in wanted)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert describe(tmp_path / "tracker.safetensors")["backbone"] == (
        "convnext of transformers, depths [1, 1, 2, 1], hidden_sizes [8, 16, 24, 32]"
    )


def test_weights_without_their_configuration(tmp_path):
    """Names show the type of a backbone; its settings leave no trace."""
    save_model(small_model(), tmp_path / "tracker.safetensors")
    convert(tmp_path / "tracker.safetensors", tmp_path / "tracker.pth")
    state = torch.load(tmp_path / "tracker.pth", weights_only=True)["model"]
    torch.save({"model": state}, tmp_path / "bare.pth")
    assert describe(tmp_path / "bare.pth")["backbone"] == "convnext of transformers, its default settings"
    with pytest.warns(UserWarning, match="no configuration"), pytest.raises(UserError, match="give the configuration"):
        load_model(tmp_path / "bare.pth")
    with pytest.raises(UserError, match=r"model\.backbone\.name is transformers:convnext in the checkpoint, resnet in"):
        load_model(tmp_path / "bare.pth", config="tiny")
    config = tmp_path / "config.yaml"
    config.write_text(load_model(tmp_path / "tracker.safetensors").config.to_yaml())
    load_model(tmp_path / "bare.pth", config=config)


@pytest.mark.parametrize("as_folder", [True, False])
def test_pretrained_weights_of_a_classifier(tmp_path, as_folder):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    classifier = transformers.ConvNextForImageClassification(transformers.ConvNextConfig(**CONVNEXT)).eval()
    classifier.save_pretrained(tmp_path)
    model = small_model()
    said = load_backbone(model, tmp_path if as_folder else tmp_path / "model.safetensors")
    assert "except 6 fresh tensors (hidden_states_norms.stage2.bias" in said
    theirs = classifier.state_dict()
    for name, tensor in model.backbone.network.state_dict().items():
        assert "hidden_states_norms" in name or tensor.equal(theirs[f"convnext.{name}"])
    with pytest.raises(UserError, match=r"does not fit model\.backbone \(resnet\)"):
        load_backbone(tiny_model(), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"does not fit model\.backbone .* have another shape"):
        load_backbone(small_model(config={**CONVNEXT, "hidden_sizes": [8, 16, 24, 40]}), tmp_path)
    with pytest.raises(UserError, match=r"does not fit model\.backbone .* tensors are missing"):
        load_backbone(small_model("swin", SWIN), tmp_path)


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_pretrained_weights_of_a_resnet(tmp_path, norm):
    torch.manual_seed(1)
    size = ((1, 1, 1, 1), 16)
    source = ResNetBackbone(*size, "batch", 0).resnet.state_dict()
    torch.save(source | {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}, tmp_path / "resnet.pth")
    model = build_model(load_config("tiny", [f"model.backbone={{depths: [1, 1, 1, 1], width: 16, norm: {norm}}}"]))
    load_backbone(model, tmp_path / "resnet.pth")
    own = model.backbone.resnet.state_dict()
    assert all(tensor.equal(source[name]) for name, tensor in own.items())
    with pytest.raises(UserError, match=r"does not fit model\.backbone \(resnet\): \d+ tensors are missing, unknown"):
        load_backbone(build_model(load_config("tiny")), tmp_path / "resnet.pth")


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("{name: swin}", "name: expected resnet, resnet50, resnet101, resnet152 or transformers:TYPE, found 'swin'"),
        ("{name: [resnet50]}", "name: Input should be a valid string"),
        ("{name: resnet50, depths: 3}", r"resnet50 has depths \[3, 4, 6, 3\], found 3"),
        ("{name: resnet101, depths: [3, 4, 6, 3]}", r"resnet101 has depths \[3, 4, 23, 3\]"),
        ("{name: resnet, config: {depths: [1]}}", "a resnet takes depths, width and norm"),
        ("{name: 'transformers:swin', width: 16}", "width is a setting of the resnet"),
        (
            "{name: 'transformers:swin', config: {embed_dim: 20000}}",
            "'embed_dim' is 20000; expected a number",
        ),
        ("{name: 'transformers:swin', config: {depths: [2, 2, 200, 2]}}", "at most 100"),
        ("{name: 'transformers:swin', config: {depths: {a: 1}}}", "'depths' is {'a': 1}; expected"),
    ],
)
def test_settings_have_bounds(backbone, message):
    with pytest.raises(UserError, match=message):
        load_config("dancetrack", [f"model.backbone={backbone}"])


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("convnet", {}, "did you mean 'convnext'"),
        ("timm_backbone", {"backbone": "resnet50"}, "transformers has no backbone 'timm_backbone'"),
        ("convnext", {"depthz": [1]}, "did you mean 'depths'"),
        ("convnext", {"attn_implementation": "someone/kernel"}, "convnext has no setting 'attn_implementation'"),
        ("convnext", {"_attn_implementation": "someone/kernel"}, "convnext has no setting"),
        ("convnext", {"dtype": "float16"}, "convnext has no setting 'dtype'"),
        ("convnext", {"depths": "many"}, "cannot run convnext with this config"),
        ("convnext", {"patch_size": 7}, "strides must divide 32"),
        ("convnext", {"hidden_sizes": [1000, 2000, 5000, 10_000]}, "at most 300,000,000"),
        ("hiera", {}, "must take images of any size"),
    ],
)
def test_backbones_that_cannot_be_built(kind, config, message):
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=message):
        build_model(
            load_config("tiny").model_copy(
                update={"model": load_config("tiny").model.model_copy(update={"backbone": settings(kind, config)})}
            )
        )


def test_a_resnet_by_its_name():
    config = load_config("dancetrack", ["model.backbone.name=resnet101"])
    assert config.model.backbone.depths == (3, 4, 23, 3)
    assert load_config("dancetrack", ["model.backbone.name=resnet50"]) == load_config("dancetrack")
