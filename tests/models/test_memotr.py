import pytest
import torch

from memotr.build import build_model
from memotr.config import load_config
from memotr.structures import ImageBatch
from tests.builders import random_images, random_tracks, tiny_model


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
@pytest.mark.parametrize(
    "settings",
    [
        {"num_levels": 2},
        {"num_levels": 5},
        {"merge_layer": 0, "num_decoder_layers": 3},
        {"merge_layer": 2},
        {"num_decoder_layers": 1, "merge_layer": 1},
        {"num_encoder_layers": 0, "num_queries": 1},
    ],
)
@torch.inference_mode()
def test_architectures(variant, settings):
    model = tiny_model(variant, classes=3, **settings)
    tracks = random_tracks(4, 3, parts=model.queries.parts)
    output = model(random_images([(50, 70)]), [tracks], aux=True)[0]
    assert output.logits.shape == (model.num_queries + 4, 3)
    assert output.query_embed.shape[1] == model.dim * model.queries.parts
    assert len(output.layers) == model.config.model.num_decoder_layers
    assert output.layers.boxes[-1].equal(output.boxes)
    assert output.boxes.min() >= 0
    assert output.boxes.max() <= 1


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
@torch.inference_mode()
def test_a_batch_equals_its_elements_alone(variant):
    """Different numbers of tracks: the padding queries change nothing."""
    model = tiny_model(variant)
    images = random_images([(64, 96), (64, 96), (64, 96)])
    tracks = [random_tracks(n, parts=model.queries.parts, seed=n) for n in (3, 0, 7)]
    batch = model(images, tracks, aux=True)
    for b in range(3):
        alone = model(type(images)(images.pixels[b : b + 1], images.mask[b : b + 1]), [tracks[b]], aux=True)[0]
        for name in ("logits", "boxes", "output_embed", "query_embed", "ref_pts", "init_ref_pts"):
            torch.testing.assert_close(getattr(batch[b], name), getattr(alone, name), atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(batch[b].layers.boxes, alone.layers.boxes, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(batch[b].layers.logits, alone.layers.logits, atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_tracks_pass_by_the_detection_decoder():
    """Before the merge layer tracks neither change nor are seen by the detection queries."""
    model = tiny_model(num_decoder_layers=3, merge_layer=2)
    images = random_images([(64, 96)])
    tracks = random_tracks(4)
    with_tracks, without = (model(images, [t], aux=True)[0] for t in (tracks, model.no_tracks()))
    for layer in range(2):
        assert with_tracks.layers.output_embed[layer, 30:].equal(tracks.query_embed)
        torch.testing.assert_close(with_tracks.layers.boxes[layer, :30], without.layers.boxes[layer])
    torch.testing.assert_close(with_tracks.init_ref_pts[30:], tracks.ref_pts, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(with_tracks.boxes[:30], without.boxes)


def test_nothing_of_training_at_inference():
    model = tiny_model()
    images = random_images([(64, 96)])
    assert model(images, [model.no_tracks()]).layers is None
    assert len(model.train()(images, [model.no_tracks()]).layers) == 2


def test_every_trainable_parameter_gets_a_gradient():
    for variant in ("dab", "deformable-detr"):
        model = tiny_model(variant).train()
        tracks = random_tracks(3, parts=model.queries.parts).replace(logits=torch.ones(3, 1))
        output = model(random_images([(64, 96)]), [model.memory(tracks)])
        (output.layers.logits.sum() + output.layers.boxes.sum()).backward()
        missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert missing == []


def test_frozen_stages_do_not_train():
    backbone = build_model(load_config("tiny", ["model.backbone.frozen_stages=2"])).backbone.resnet
    training = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert training == {"layer2", "layer3", "layer4"}


def test_kernels_can_be_chosen():
    model = tiny_model()
    images = random_images([(64, 96)])
    with torch.inference_mode():
        auto = model.set_kernel("auto")(images, [model.no_tracks()])
        reference = model.set_kernel("reference")(images, [model.no_tracks()])
    torch.testing.assert_close(auto.boxes, reference.boxes, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_frames_may_be_encoded_together(variant):
    """The encoder knows no tracks, so a clip's frames go through it as one batch."""
    model = tiny_model(variant).eval()
    frames = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        memory = model.encode(ImageBatch.from_images(list(frames))).memory
        for t, frame in enumerate(frames):
            alone = model.encode(ImageBatch.from_images([frame]))
            torch.testing.assert_close(memory[t : t + 1], alone.memory, atol=1e-5, rtol=1e-5)
            output = model(ImageBatch.from_images([frame]), [model.no_tracks()])
            assert torch.equal(model.decode(alone, [model.no_tracks()]).logits, output.logits)
