"""Frames that are encoded as one batch have the same results as one by one."""

from dataclasses import replace

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from memotr.build import build_model
from memotr.config import load_config
from memotr.models.memotr import MeMOTR
from memotr.structures import ClipBatch, ImageBatch
from memotr.training import clip_runner
from memotr.training.clip_runner import ClipRunner, frames_are_independent
from memotr.training.losses import clip_losses
from tests.builders import random_images, tiny_model
from tests.training.builders import targets_of

IDS = ([[1, 2], [1, 2, 3], [2], [2, 4]], [[5], [5, 6], [], [6]])
"""Ids in every frame of two clips."""


def a_clip(*sizes, known=True):
    """Four frames of two clips, with the two sizes of each frame, in float64."""
    frames, targets = [], []
    for t, pair in enumerate(sizes):
        images = random_images(pair, seed=t)
        frames.append(ImageBatch(images.pixels.double(), images.mask, images.sizes if known else None))
        targets.append([targets_of(ids[t], 2, seed=7 * b + t) for b, ids in enumerate(IDS)])
    return ClipBatch(frames, targets)


CLIPS = {
    "one size": a_clip(*[[(64, 96), (64, 96)]] * 4),
    "two sizes": a_clip(*[[(64, 90), (50, 96)]] * 4),
    "sizes change within the padding": a_clip(*[[(64, 90 - t), (50 + t, 96)] for t in range(4)]),
    "sizes unknown": a_clip(*[[(64, 90 - t), (50 + t, 96)] for t in range(4)], known=False),
    "the padding changes": a_clip(*[[(64, 90), (64, 96 + 32 * (t > 1))] for t in range(4)]),
}


def count_batches(monkeypatch):
    """Return a list that gets the number of frames of every batch that is encoded."""
    batches, encode = [], MeMOTR.encode_frames

    def counted(self, frames):
        batches.append(len(frames))
        return encode(self, frames)

    monkeypatch.setattr(MeMOTR, "encode_frames", counted)
    return batches


def gradients_of(variant, clip, frames_at_once, no_grad_frames=0, recompute=(), **settings):
    """The loss and all gradients of a clip, in float64."""
    model = tiny_model(variant, classes=2, num_decoder_layers=3, **settings).double().train()
    runner = ClipRunner(model.recompute_activations(recompute), frames_at_once=frames_at_once)
    total = runner(clip, no_grad_frames).total
    total.backward()
    return total.detach(), {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def assert_same_gradients(found, expected):
    assert found[0] == pytest.approx(expected[0].item(), rel=1e-6)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        error = (found[1][name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert error < 1e-10, f"{name}: off by {error:.1e}"


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_gradients_are_those_of_frame_by_frame(variant, name, monkeypatch):
    batches = count_batches(monkeypatch)
    expected = gradients_of(variant, CLIPS[name], 1)
    assert batches == [1, 1, 1, 1]
    batches.clear()
    assert_same_gradients(gradients_of(variant, CLIPS[name], 4), expected)
    assert batches == ([2, 2] if name == "the padding changes" else [4])


@pytest.mark.parametrize("settings", [{"merge_layer": 0}, {"merge_layer": 3}, {"num_encoder_layers": 0}])
def test_other_networks(settings):
    clip = CLIPS["two sizes"]
    assert_same_gradients(gradients_of("dab", clip, 3, **settings), gradients_of("dab", clip, 1, **settings))


def test_a_prefix_without_gradient_is_a_batch_of_its_own(monkeypatch):
    expected = gradients_of("dab", CLIPS["two sizes"], 1, no_grad_frames=1)
    batches = count_batches(monkeypatch)
    assert_same_gradients(gradients_of("dab", CLIPS["two sizes"], 2, no_grad_frames=1), expected)
    assert batches == [1, 2, 1]


def test_features_of_a_prefix_are_freed(monkeypatch):
    features, encode = [], MeMOTR.encode_frames

    def watched(self, frames):
        encoded = encode(self, frames)
        features.append(StorageWeakRef(encoded[0].memory.untyped_storage()))
        return encoded

    def losses(*inputs):
        freed.extend(memory.expired() for memory in features)
        return clip_losses(*inputs)

    freed = []
    monkeypatch.setattr(MeMOTR, "encode_frames", watched)
    monkeypatch.setattr(clip_runner, "clip_losses", losses)
    ClipRunner(tiny_model(classes=2).double().train(), frames_at_once=2)(CLIPS["two sizes"], no_grad_frames=2)
    assert freed == [True, False], "the others wait for the backward pass"


def test_activations_are_recomputed_for_all_frames_of_a_batch():
    expected = gradients_of("dab", CLIPS["two sizes"], 4)
    found = gradients_of("dab", CLIPS["two sizes"], 4, recompute=("backbone", "encoder", "decoder"))
    assert_same_gradients(found, expected)


def test_the_same_layout_is_computed_once(monkeypatch):
    """For a clip whose frames have the sizes of the first; of unknown sizes every frame has its own."""
    made, lay_out = [], MeMOTR._lay_out

    def counted(self, images, shapes):
        made.append(len(images))
        return lay_out(self, images, shapes)

    monkeypatch.setattr(MeMOTR, "_lay_out", counted)
    gradients_of("dab", CLIPS["two sizes"], 4)
    gradients_of("dab", CLIPS["sizes unknown"], 4)
    assert made == [2, 8]


@pytest.mark.parametrize(
    ("settings", "independent"),
    [
        ([], True),
        (["model.dropout=0.1"], False),
        (["model.backbone.norm=frozen"], True),
        (["model.backbone.norm=batch"], False),
    ],
)
def test_frames_that_depend_on_each_other_stay_apart(settings, independent):
    model = build_model(load_config("tiny", settings))
    assert frames_are_independent(model) is independent
    assert ClipRunner(model, frames_at_once=5).frames_at_once == (5 if independent else 1)


@pytest.mark.parametrize(("rate", "independent"), [(0.0, True), (0.2, False)])
def test_random_depth_of_another_librarys_backbone(rate, independent):
    pytest.importorskip("transformers")
    from memotr.models.transformers_backbone import TransformersBackbone

    size = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "drop_path_rate": rate}
    assert frames_are_independent(TransformersBackbone("convnext", size)) is independent


def test_images_of_several_batches_are_joined():
    batches = [random_images([(40, 50), (33, 64)], seed=t) for t in range(2)]
    joined = ImageBatch.cat(batches)
    assert joined.pixels.equal(torch.cat([b.pixels for b in batches]))
    assert joined.sizes == ((40, 50), (33, 64)) * 2
    assert ImageBatch.cat([batches[0], replace(batches[1], sizes=None)]).sizes is None
