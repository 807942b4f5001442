import pytest
import torch

from memotr.structures import ClipBatch
from memotr.training.clip_runner import ClipRunner
from tests.builders import random_images, tiny_model
from tests.training.builders import random_targets

PARTS = ("backbone", "encoder", "decoder")


def loss_and_gradients(parts, variant="dab", dropout=0.0):
    """The loss of a clip of two videos, every gradient, and how many values the forward kept for the backward."""
    model = tiny_model(variant, dropout=dropout).train().recompute_activations(parts)
    sizes = [(64, 96), (64, 80)]
    targets = [[random_targets(3, seed=t), random_targets(2, seed=t + 9)] for t in range(2)]
    clip = ClipBatch([random_images(sizes, seed=t) for t in range(2)], targets)
    kept = 0

    def count(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    torch.manual_seed(7)  # of the dropout
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = ClipRunner(model)(clip).total
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}, kept


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_recomputing_changes_no_result(variant, dropout):
    expected, gradients, _ = loss_and_gradients((), variant, dropout)
    loss, again, _ = loss_and_gradients(PARTS, variant, dropout)
    assert loss == expected
    for name, gradient in gradients.items():
        assert gradient is not None, name
        torch.testing.assert_close(again[name], gradient, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_keeps_less(part):
    assert loss_and_gradients((part,))[2] < loss_and_gradients(())[2]


def test_names_stay_as_published():
    model = tiny_model()
    names = list(model.state_dict())
    assert list(model.recompute_activations(PARTS).state_dict()) == names
