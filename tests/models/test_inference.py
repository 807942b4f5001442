"""The network made ready for inference says what the network says, and leaves it alone."""

import copy

import pytest
import torch
from torch import nn

from memotr.build import build_model
from memotr.config import load_config
from memotr.models import inference, resnet
from memotr.models.inference import CublasLinear, OneDnnLinear, for_inference
from memotr.models.resnet import Bottleneck, FrozenBatchNorm2d, OneDnnBottleneck, ResNetBackbone
from tests.builders import random_images, random_tracks, tiny_model

OVERRIDES = ["model.backbone.width=8", "model.backbone.depths=[1, 2, 1, 1]", "model.hidden_dim=64"]
OVERRIDES += ["model.num_queries=12", "model.ffn_dim=96", "model.num_encoder_layers=2", "model.num_decoder_layers=3"]


def small_model(variant, norm):
    """With statistics and affine maps such as training leaves them."""
    torch.manual_seed(1)
    model = build_model(load_config(variant, [*OVERRIDES, f"model.backbone.norm={norm}"])).eval()
    for name, tensor in model.backbone.resnet.state_dict().items():
        if "running" in name or ".bn" in name or "downsample.1" in name:
            tensor.copy_(torch.rand_like(tensor) + 0.5) if tensor.is_floating_point() else None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


@torch.inference_mode()
def looked(network, sizes=((60, 90),), dtype=None):
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
        images = random_images(sizes)
        tracks = [random_tracks(3, parts=network.queries.parts, seed=b) for b in range(len(sizes))]
        return network(images, tracks).float()


@pytest.mark.parametrize("norm", ["frozen", "batch", "group"])
@pytest.mark.parametrize("variant", ["dancetrack", "dancetrack-deformable-detr"])
def test_the_same_numbers(variant, norm):
    model = small_model(variant, norm)
    network = for_inference(model)
    for sizes in (((60, 90),), ((64, 64), (40, 70))):
        found, wanted = looked(network, sizes), looked(model, sizes)
        for name in ("logits", "boxes", "output_embed", "query_embed", "ref_pts", "init_ref_pts"):
            torch.testing.assert_close(getattr(found, name), getattr(wanted, name), atol=2e-5, rtol=2e-5)


def test_reduced_precision_is_that_of_autocast():
    model = small_model("dancetrack", "frozen")
    exact, before = looked(model), looked(model, dtype=torch.bfloat16)
    found = looked(for_inference(model, torch.bfloat16), dtype=torch.bfloat16)
    error = (found.boxes - exact.boxes).abs().max()
    assert 0 < error < 2 * (before.boxes - exact.boxes).abs().max()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("variant", ["dancetrack", "dancetrack-deformable-detr"])
def test_the_memory_is_exact_in_any_precision(variant, dtype):
    model = small_model(variant, "frozen")
    tracks = random_tracks(5, parts=model.queries.parts)
    with torch.inference_mode():
        found, wanted = for_inference(model, dtype).memory(tracks), model.memory(tracks)
    for name in ("ref_pts", "query_embed", "long_memory", "last_output"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_model_is_left_alone(dtype):
    model = tiny_model().train()
    before = copy.deepcopy(model.state_dict())
    network = for_inference(model, dtype)
    assert model.training
    assert not network.training
    assert all(parameter.requires_grad for parameter in model.transformer.parameters())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert tensor.equal(before[name])
    assert model.layouts is None


def test_weights_that_stay_are_shared():
    model = tiny_model()
    network = for_inference(model)
    assert (
        network.query_updater.memory_ffn.linear1.weight.data_ptr()
        == model.query_updater.memory_ffn.linear1.weight.data_ptr()
    )
    linear = network.transformer.encoder.layers[0].linear1
    assert isinstance(linear, OneDnnLinear)
    assert linear.weight.data_ptr() == model.transformer.encoder.layers[0].linear1.weight.data_ptr()


def test_without_the_operator_of_onednn(monkeypatch):
    model = small_model("dancetrack", "frozen")
    for room in (inference, resnet):
        monkeypatch.setattr(room, "onednn_supports", lambda dtype: False)
    network = for_inference(model)
    assert not any(isinstance(module, OneDnnLinear) for module in network.modules())
    torch.testing.assert_close(looked(network).logits, looked(model).logits, atol=2e-5, rtol=2e-5)


def test_weights_of_attention_are_cast_once():
    network = for_inference(small_model("dancetrack", "frozen"), torch.bfloat16)
    attention = network.transformer.decoder.layers[0].self_attn
    for tensor in (attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight):
        assert tensor.dtype == torch.bfloat16
    assert network.query_updater.memory_attn.in_proj_weight.dtype == torch.float32


@pytest.mark.parametrize("onednn", [True, False])
def test_the_memory_of_a_variant_stays_float32(onednn, monkeypatch):
    monkeypatch.setattr(inference, "onednn_supports", lambda dtype: onednn)
    network = for_inference(small_model("dancetrack-deformable-detr", "frozen"), torch.bfloat16)
    assert network.queries.reference_points.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in network.queries.memory.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in network.query_updater.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", [OneDnnLinear, CublasLinear])
def test_linear_and_relu_in_one(kind):
    linear = torch.nn.Linear(7, 5)
    fast = kind(linear.weight, linear.bias)
    x = torch.randn(2, 3, 7)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), linear(x))
        torch.testing.assert_close(fast.relu(x), linear(x).relu())
        assert fast(x[:, :0]).shape == (2, 0, 5)
        assert fast.relu(x[:, :0]).shape == (2, 0, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_of_a_resnet_in_one_pass(dtype, monkeypatch):
    """To the bit in float32. Feature maps that a later stage reads are not overwritten."""
    torch.manual_seed(0)
    network = ResNetBackbone((2, 2, 1, 1), 16, "frozen", 0).eval()
    for norm in (module for module in network.modules() if isinstance(module, FrozenBatchNorm2d)):
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_()
        norm.running_mean.normal_()
    network.prepare().requires_grad_(False)
    for conv in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
        conv.to(dtype).to(memory_format=torch.channels_last)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        found = network(image)
        monkeypatch.setattr(resnet, "onednn_supports", lambda dtype: False)
        wanted = network(image)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype == dtype
        assert b.abs().max() > 1
        error = (a.float() - b.float()).norm() / b.float().norm()
        assert error == 0 if dtype is torch.float32 else error < 0.01


@pytest.mark.parametrize(("norm", "expected"), [("frozen", 5), ("batch", 5), ("group", 0)])
def test_only_blocks_without_norms_are_fused(norm, expected):
    network = for_inference(small_model("dancetrack", norm))
    blocks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    assert len(blocks) == 5
    assert sum(isinstance(block, OneDnnBottleneck) for block in blocks) == expected
