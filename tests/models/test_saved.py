"""What the forward pass keeps for the backward pass: nothing twice, and nothing that costs next to nothing."""

import pytest
import torch
from torch import nn

from memotr.models.resnet import FrozenBatchNorm2d
from memotr.training.clip_runner import ClipRunner
from tests.builders import tiny_model
from tests.training.builders import random_clip


def random_norm():
    norm = FrozenBatchNorm2d(5)
    for name, buffer in norm.named_buffers():
        buffer.copy_(torch.rand(5) + 0.5 if name == "running_var" else torch.randn(5))
    return norm


def kept_by(work):
    """The tensors that a forward pass keeps."""
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return kept


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_constant_normalisation_keeps_no_input(dtype, device):
    norm, x = random_norm().to(device), torch.randn(2, 5, 3, 4, dtype=dtype, device=device, requires_grad=True)
    plain = nn.BatchNorm2d(5).to(device).eval().requires_grad_(False)
    plain.load_state_dict(norm.state_dict(), strict=False)
    if dtype == torch.float64:
        norm, plain = norm.double(), plain.double()
    assert all(tensor.shape == (5,) for tensor in kept_by(lambda: norm(x)))
    outputs, gradient = [norm(x), plain(x)], torch.randn(2, 5, 3, 4, device=device).to(dtype)
    assert outputs[0].equal(outputs[1])
    found, expected = (torch.autograd.grad(output, x, gradient)[0] for output in outputs)
    assert found.equal(expected)
    with torch.no_grad():
        assert norm(x).equal(outputs[0])


@pytest.mark.parametrize("half", [False, True])
def test_hidden_activations_of_the_encoder_are_not_kept(half):
    model = tiny_model().train()
    clip = random_clip([[2], [2]])
    runner = ClipRunner(model)

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            runner(clip)

    kept = kept_by(forward)
    positions = 8 * 12 + 4 * 6 + 2 * 3
    wide = [tensor for tensor in kept if tensor.numel() == positions * model.config.model.ffn_dim]
    assert wide == []


def test_a_cast_is_made_once_for_all_layers_that_need_it():
    """Of an attention's query, and of the encoder's output for all layers of the decoder."""
    model = tiny_model(num_decoder_layers=3).train()
    clip = random_clip([[2]])

    def forward():
        with torch.autocast("cpu", torch.bfloat16):
            ClipRunner(model)(clip)

    kept = [tensor for tensor in kept_by(forward) if tensor.dtype == torch.bfloat16]
    positions, width = 8 * 12 + 4 * 6 + 2 * 3, model.dim
    maps = {tensor.untyped_storage().data_ptr() for tensor in kept if tensor.shape == (positions, width)}
    # Of the only layer of the encoder: the query, the input of the values and the sampled values; then its output.
    assert len(maps) == 4
