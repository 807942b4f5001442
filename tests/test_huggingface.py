"""A third opinion: the detector half against Hugging Face's Deformable DETR, which shares no code with ours."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from memotr.build import build_model
from memotr.config import make_config
from memotr.errors import UserError
from memotr.weights.checkpoint import read_checkpoint
from memotr.weights.convert import convert
from memotr.weights.describe import describe
from memotr.weights.huggingface import to_huggingface, to_official
from memotr.weights.model_files import load_model
from memotr.weights.pretrained import load_detector, tracker_name
from memotr.weights.published_names import published_state
from tests.builders import random_images

transformers = pytest.importorskip("transformers")

CLASSES = 5
DEPTHS, WIDTH, DIM, FFN, QUERIES, ENCODER, DECODER = (1, 2, 1, 1), 16, 64, 96, 10, 2, 3
TOLERANCE = 1e-4


def random_weights(model):
    """Weights far from their initial values, so that every tensor matters."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in published_state(model).items():
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(1 + 0.3 * noise.abs())
            elif tensor.ndim > 1:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            else:
                tensor.add_(0.2 * noise)
    return model.eval()


def settings(**changes):
    backbone = transformers.ResNetConfig(
        embedding_size=WIDTH,
        hidden_sizes=[WIDTH * 4 * 2**i for i in range(4)],
        depths=list(DEPTHS),
        layer_type="bottleneck",
        out_features=["stage2", "stage3", "stage4"],
    )
    values = {
        "backbone_config": backbone,
        "num_queries": QUERIES,
        "d_model": DIM,
        "encoder_layers": ENCODER,
        "decoder_layers": DECODER,
        "encoder_ffn_dim": FFN,
        "decoder_ffn_dim": FFN,
        "num_labels": CLASSES,
        "with_box_refine": True,
        "two_stage": False,
    }
    return transformers.DeformableDetrConfig(**{**values, **changes})


def our_model(temperature=10000, classes=CLASSES):
    """A tracker of the same size, with fresh weights. Hugging Face's position embedding has temperature 10000."""
    model = {
        "variant": "deformable-detr",
        "backbone": {"depths": DEPTHS, "width": WIDTH},
        "hidden_dim": DIM,
        "ffn_dim": FFN,
        "num_encoder_layers": ENCODER,
        "num_decoder_layers": DECODER,
        "num_queries": QUERIES,
        "position_temperature": temperature,
    }
    names = [f"class {i}" for i in range(classes)]
    return build_model(make_config({"classes": names, "model": model}, "test")).eval()


@pytest.fixture(scope="module")
def theirs():
    return random_weights(transformers.DeformableDetrForObjectDetection(settings()))


@pytest.fixture(scope="module")
def saved(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("huggingface") / "model"
    theirs.save_pretrained(path)
    return path


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the model folder that a test may spoil."""
    return shutil.copytree(saved, tmp_path / "model")


@torch.inference_mode()
def detections(ours, theirs):
    """Logits and boxes of both for two images of different sizes, so that there is padding."""
    images = random_images([(96, 128), (70, 101)])
    output = ours(images, [ours.no_tracks()] * 2)
    expected = theirs(images.pixels, pixel_mask=(~images.mask).long())
    return (output.logits, expected.logits), (output.boxes, expected.pred_boxes)


def worst(pair):
    return (pair[0] - pair[1]).abs().max().item()


def test_from_huggingface(theirs, saved):
    ours = our_model()
    report = load_detector(ours, saved)
    assert not report.left_out
    assert all(name.startswith("query_updater.") for name in report.initialised)
    logits, boxes = detections(ours, theirs)
    assert worst(logits) < TOLERANCE
    assert worst(boxes) < TOLERANCE
    assert logits[1].std() > 0.1, "the comparison says nothing if all detections are alike"
    assert boxes[1].std(dim=1).mean() > 0.01


def test_comparison_notices_another_position_embedding(theirs, saved):
    ours = our_model(temperature=20)
    load_detector(ours, saved)
    assert worst(detections(ours, theirs)[0]) > 10 * TOLERANCE


def test_to_huggingface(saved, tmp_path):
    """Our weights in their folder give our detections."""
    ours = random_weights(our_model())
    state = published_state(ours)
    official = {name: state[tracker_name(name)] for name in read_checkpoint(saved).state}
    path = tmp_path / "theirs"
    # Unless told so, transformers ties the class heads of all layers to the first.
    settings(tie_word_embeddings=False).save_pretrained(path)
    weights = {name: tensor.clone() for name, tensor in to_huggingface(official).items()}
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    model, info = transformers.DeformableDetrForObjectDetection.from_pretrained(path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    logits, boxes = detections(ours, model.eval())
    assert worst(logits) < TOLERANCE
    assert worst(boxes) < TOLERANCE


def test_round_trip_of_names(theirs, saved):
    written = load_file(saved / "model.safetensors")
    back = to_huggingface(to_official(written, DECODER))
    assert written.keys() <= back.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in written.items())
    in_memory = to_official(theirs.state_dict(), DECODER)
    assert in_memory.keys() == to_official(written, DECODER).keys()
    assert all(torch.equal(in_memory[name], tensor) for name, tensor in to_official(written, DECODER).items())


def test_backbones_of_timm_have_torchvision_names():
    prefix = "model.backbone.conv_encoder.model."
    names = ["conv1.weight", "bn1.running_mean", "layer1.0.conv3.weight", "layer4.0.downsample.1.bias"]
    official = to_official({prefix + name: torch.zeros(1) for name in names}, num_layers=1)
    assert set(official) == {f"backbone.0.body.{name}" for name in names}


def test_convert(saved, tmp_path):
    """The official layout of the same detector, for --pretrained."""
    target = tmp_path / "new folder" / "detector.pth"
    with pytest.raises(UserError, match="a detector has no tracker settings: leave out --set input"):
        convert(saved, target, settings=["input.short_side=480"])
    assert "--pretrained" in convert(saved, target)
    names = torch.load(target, weights_only=True)["model"].keys()
    assert {"query_embed.weight", "backbone.0.body.layer1.0.conv1.weight", "class_embed.2.bias"} <= names
    direct, through_file = our_model(), our_model()
    through_file.load_state_dict(direct.state_dict())
    load_detector(direct, saved)
    load_detector(through_file, target)
    pairs = zip(direct.state_dict().values(), through_file.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(UserError, match=r"the name must end in \.pth"):
        convert(saved, tmp_path / "detector.safetensors")


def test_file_in_the_folder_is_the_folder(saved):
    assert (
        describe(saved / "model.safetensors")["kind"]
        == describe(saved)["kind"]
        == "detector (Deformable-DETR, 5 classes)"
    )


def test_not_a_tracker(saved):
    with pytest.raises(UserError, match=r"detector \(Deformable-DETR, 5 classes\), not a tracker.*--pretrained"):
        load_model(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "detr"}, "model_type is 'detr'"),
        ({"two_stage": True}, "two_stage is on"),
        ({"position_embedding_type": "learned"}, "position_embedding_type is 'learned'"),
        ({"backbone_config": {"layer_type": "basic"}}, "layer_type is 'basic'"),
        ({"backbone_config": "resnet"}, "backbone_config is 'resnet'"),
        ({"decoder_layers": 10**9}, "decoder_layers is 1000000000, not a number from 1 to 100"),
        ({"decoder_layers": "6"}, "decoder_layers is '6'"),
    ],
)
def test_other_models_are_refused(folder, change, message):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(UserError, match=message):
        read_checkpoint(folder)


def test_incomplete_folder(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"without model\.safetensors or pytorch_model\.bin"):
        read_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as a model's settings"):
        read_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="is a folder; pass the checkpoint file in it"):
        read_checkpoint(folder)


def test_weights_without_their_settings(folder):
    (folder / "config.json").unlink()
    with pytest.raises(
        UserError, match=r"config\.json: no such file; transformers' weights need it in the same folder"
    ):
        read_checkpoint(folder / "model.safetensors")


def test_incomplete_weights(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.decoder.layers.1.self_attn.k_proj.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"incomplete: it has no tensor '.*layers\.1\.self_attn\.k_proj\.bias'"):
        read_checkpoint(folder)
