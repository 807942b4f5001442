"""Weights files: every kind is recognised, trackers load to the bit, and what is wrong is said in one line."""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import memotr.weights.model_files
from memotr import build_model, load_config, load_model
from memotr.cli import main
from memotr.config import make_config
from memotr.errors import UserError
from memotr.models.deformable_attention import DeformableAttention
from memotr.published import BDD100K_CLASSES
from memotr.weights.checkpoint import FORMAT, SHARED_BOX_HEADS, read_checkpoint
from memotr.weights.convert import convert
from memotr.weights.describe import describe
from memotr.weights.huggingface import to_huggingface
from memotr.weights.kinds import Kind
from memotr.weights.model_files import save_model
from memotr.weights.pretrained import load_backbone, load_detector
from memotr.weights.published_names import published_state
from memotr.weights.tensor_files import read_torch

BACKBONE = {"depths": [1, 2, 1, 1], "width": 8}


def make_small(classes=("person",), seed=0, **model):
    """A model that its tensors' shapes describe in full: 8 heads, 4 points, frozen batch normalisation."""
    torch.manual_seed(seed)
    size = {"backbone": BACKBONE, "hidden_dim": 32, "ffn_dim": 48, "num_levels": 3, "num_queries": 12}
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 2}
    return build_model(make_config({"classes": classes, "model": {**size, **layers, **model}}, "test"))


def detector_state(rows=91, variant="dab", **model):
    """Random tensors under the official detectors' names, and the tracker that they fit."""
    tracker = published_state(make_small(tuple(f"class {i}" for i in range(rows)), variant=variant, **model))
    names = {"det_query_embed": "tgt_embed.weight" if variant == "dab" else "query_embed.weight"}
    state = {}
    for name, tensor in tracker.items():
        theirs = name.replace("backbone.backbone.backbone.", "backbone.0.body.").replace(
            "feature_projs.", "input_proj."
        )
        theirs = names.get(theirs, theirs).replace("det_anchor", "refpoint_embed.weight")
        if not theirs.startswith("query_updater."):
            state[theirs] = torch.randn_like(tensor) if not theirs.startswith(SHARED_BOX_HEADS) else None
    return {n: state[n.removeprefix("transformer.decoder.")] if t is None else t for n, t in state.items()}


def authors_payload(model):
    """What the authors' training leaves, with an optimiser and a scheduler as they are."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(3))])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [12])
    return {
        "model": published_state(model),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "states": {"start_epoch": 20, "global_iters": 1234},
    }


def assert_equal(model, expected):
    actual = published_state(model)
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


@pytest.fixture(scope="module")
def model():
    return make_small()


@pytest.fixture
def authors(model, tmp_path):
    path = tmp_path / "checkpoint_19.pth"
    torch.save(authors_payload(model), path)
    return path


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / "r50_dab.pth"
    torch.save({"model": detector_state(), "epoch": 49, "args": argparse.Namespace(lr=1e-4)}, path)
    return path


@pytest.fixture
def resnet(tmp_path):
    names = make_small().backbone.resnet.state_dict()
    path = tmp_path / "resnet50.pth"
    torch.save({**names, "fc.weight": torch.zeros(1000, 256)}, path)
    return path


# Trackers


def test_authors_checkpoint(authors, model):
    loaded = load_model(authors, device="cpu", kernel="reference")
    assert_equal(loaded, published_state(model))
    assert not loaded.training
    assert loaded.config.model == model.config.model
    assert loaded.config.tracking.miss_tolerance == 30
    assert {m.kernel for m in loaded.modules() if isinstance(m, DeformableAttention)} == {"reference"}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"state_dict": {f"model.module._orig_mod.{name}": t for name, t in state.items()}},
        lambda state: {"model": {n: t.double() if t.is_floating_point() else t for n, t in state.items()}},
        lambda state: {n: t for n, t in state.items() if not n.startswith("bbox_embed.")},
        lambda state: {n: t for n, t in state.items() if not n.startswith(SHARED_BOX_HEADS)},
    ],
    ids=[
        "bare",
        "state_dict",
        "data parallel",
        "compiled",
        "Lightning",
        "compiled in Lightning",
        "double",
        "heads inside only",
        "heads outside only",
    ],
)
def test_forms_of_a_state_dict(wrap, model, tmp_path):
    torch.save(wrap(published_state(model)), tmp_path / "weights.pth")
    loaded = load_model(tmp_path / "weights.pth", device="cpu")
    assert_equal(loaded, published_state(model))


def test_old_torch_format(model, tmp_path):
    torch.save(authors_payload(model), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_equal(load_model(tmp_path / "old.pth", device="cpu"), published_state(model))


def test_box_heads_that_differ(model, tmp_path):
    state = published_state(model)
    state["bbox_embed.0.layers.0.weight"] = state["bbox_embed.0.layers.0.weight"] + 1
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(
        UserError, match=r"bbox_embed\.0\.layers\.0\.weight and transformer\.decoder.* differ in this file"
    ):
        load_model(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({"classes": ["a", "b"]}, "the checkpoint has 1 class, the configuration 2"),
        (
            {"variant": "deformable-detr"},
            "model.variant is dab in the checkpoint, deformable-detr in the configuration",
        ),
        ({"hidden_dim": 64}, "model.hidden_dim is 32 in the checkpoint, 64 in the configuration"),
        ({"num_decoder_layers": 3}, "model.num_decoder_layers is 2 in the checkpoint, 3"),
        ({"num_encoder_points": 2}, "model.num_heads x num_encoder_points is 32 in the checkpoint, 16"),
        ({"backbone": {**BACKBONE, "norm": "batch"}}, "model.backbone.norm is frozen in the checkpoint, batch"),
    ],
)
def test_another_configuration(authors, config, cause):
    with pytest.raises(UserError) as error:
        load_model(authors, config=make_small(**config).config)
    assert f"{authors}: does not fit the configuration (given): " in str(error.value)
    assert cause in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("query_updater.memory_norm.bias"), r"1 missing \(query_updater\.memory_norm\.bias\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unknown \(extra\)"),
        (lambda s: s.update({"det_anchor": torch.zeros(12, 3)}), r"1 of another shape \(det_anchor\)"),
        (lambda s: s.pop("transformer.level_embed"), "incomplete: it has no tensor 'transformer.level_embed'"),
        (lambda s: s.update({"transformer.level_embed": torch.zeros(3)}), "do not have the shapes of a tracker"),
    ],
)
def test_strictness(model, tmp_path, change, message):
    state = published_state(model)
    change(state)
    torch.save({"model": state}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "weights.pth")


# Configurations


def test_a_network_far_larger_than_its_file_is_not_built(model, tmp_path, monkeypatch):
    """Whatever the configuration says: nothing is allocated beyond what the file could fill."""
    save_model(model, tmp_path / "a.safetensors")
    monkeypatch.setattr(memotr.weights.model_files, "build_model", lambda config: pytest.fail("it was built"))
    with pytest.raises(UserError, match=r"does not fit .*hidden_dim is \d+ in the checkpoint, 256 in .* and \d+ more"):
        load_model(tmp_path / "a.safetensors", config="dancetrack", settings=["model.num_queries=10000"])


def test_configuration_in_the_folder_of_the_checkpoint(authors, model):
    """The authors' layout, then a file of ours nearer by, then one that is named."""
    published = {
        "DATASET": "MOT17",
        "USE_DAB": True,
        "HIDDEN_DIM": 32,
        "FFN_DIM": 48,
        "NUM_FEATURE_LEVELS": 3,
        "NUM_ENC_LAYERS": 1,
        "NUM_DEC_LAYERS": 2,
        "NUM_DET_QUERIES": 12,
        "MISS_TOLERANCE": 15,
    }
    (authors.parent / "train").mkdir()
    (authors.parent / "train" / "config.yaml").write_text(json.dumps(published))
    with pytest.raises(UserError, match=r"train/config\.yaml\): model\.backbone\.depths is \(1, 2, 1, 1\)"):
        load_model(authors)  # it was read: the authors' models all have a ResNet-50
    for name, tolerance in (("config.yaml", 7), ("checkpoint_19.yaml", 8)):
        tracking = model.config.tracking.override({"miss_tolerance": tolerance})
        (authors.parent / name).write_text(model.config.model_copy(update={"tracking": tracking}).to_yaml())
        assert load_model(authors).config.tracking.miss_tolerance == tolerance
        assert describe(authors)["configuration"] == str(authors.parent / name)
    assert load_model(authors, config=authors.parent / "config.yaml").config.tracking.miss_tolerance == 7
    assert load_model(authors, config=model.config).config is model.config


def test_the_authors_folder_as_it_is(authors, model, tmp_path):
    """``outputs/<name>`` with one checkpoint and ``train/config.yaml``; one of theirs is called ``train.yaml``."""
    (authors.parent / "train").mkdir()
    for name, tolerance in (("train.yaml", 5), ("config.yaml", 6)):
        tracking = model.config.tracking.override({"miss_tolerance": tolerance})
        (authors.parent / "train" / name).write_text(model.config.model_copy(update={"tracking": tracking}).to_yaml())
        assert load_model(authors.parent).config.tracking.miss_tolerance == tolerance
    (authors.parent / "another.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"pass the checkpoint .* \(it contains another\.pth, checkpoint_19\.pth\)"):
        load_model(authors.parent)


def test_single_settings_in_place_of_the_checkpoints(authors, model):
    settings = ["tracking.det_thresh=0.25", "input.short_side=96"]
    config = load_model(authors, config=model.config, settings=settings).config
    assert (config.tracking.det_thresh, config.input.short_side) == (0.25, 96)
    with pytest.raises(UserError, match="did you mean 'det_thresh'"):
        load_model(authors, config=model.config, settings=["tracking.det_tresh=0.25"])


def test_broken_configuration_in_the_folder_of_the_checkpoint(authors):
    (authors.parent / "config.yaml").write_text("modle: {}")
    with pytest.raises(UserError, match=r"did you mean 'model'\? \(read because it is in the folder of checkpoint_19"):
        load_model(authors)
    assert "did you mean 'model'" in describe(authors)["configuration"]


def test_inferred_classes(tmp_path):
    for classes, names, tolerance in (
        (8, BDD100K_CLASSES, 10),
        (3, ("class 0", "class 1", "class 2"), 30),
    ):
        torch.save(published_state(make_small([f"{i}" for i in range(classes)])), tmp_path / "weights.pth")
        config = load_model(tmp_path / "weights.pth").config
        assert (config.classes, config.tracking.miss_tolerance) == (names, tolerance)


@pytest.mark.parametrize("norm", ["frozen", "batch", "group"])
@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_inferred_network(norm, variant, tmp_path):
    model = make_small(
        variant=variant, num_levels=5, num_encoder_points=2, num_encoder_layers=2, backbone={"norm": norm}
    )
    torch.save(published_state(model), tmp_path / "weights.pth")
    with pytest.warns(UserWarning, match="no configuration in it or in its folder: class names, image size"):
        load_model(tmp_path / "weights.pth")
    with pytest.warns(
        UserWarning, match="number of attention heads is not stored in the weights"
    ):  # 2 points are not as published
        loaded = load_model(tmp_path / "weights.pth").config.model
    frozen = {"backbone": {"frozen_stages"}}  # leaves no trace either
    assert loaded.model_dump(exclude=frozen) == model.config.model.model_dump(exclude=frozen)


# Our own files


def test_round_trip(tmp_path):
    config = make_config({"name": "mine", "classes": ["cat", "dog"], "tracking": {"det_thresh": 0.3}}, "test")
    model = make_small(("cat", "dog"), num_heads=4, memory_heads=2, backbone={**BACKBONE, "norm": "batch"})
    model.config = config.model_copy(update={"model": model.config.model})
    path = tmp_path / "new" / "folder" / "mine.safetensors"
    save_model(model, path, epoch=7)
    loaded = load_model(path)
    assert_equal(loaded, published_state(model))
    assert loaded.config == model.config
    assert describe(path)["trained"] == "7 epochs"
    assert [file.name for file in path.parent.iterdir()] == ["mine.safetensors"]
    with safe_open(path, "pt") as file:
        assert not [name for name in file.keys() if name.startswith(SHARED_BOX_HEADS)], "shared heads stand there once"  # noqa: SIM118


def test_half_precision(model, tmp_path):
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save_model(model, full)
    save_model(model, half, dtype=torch.float16)
    assert half.stat().st_size < 0.7 * full.stat().st_size
    loaded = load_model(half)
    assert_equal(loaded, {name: tensor.half().float() for name, tensor in published_state(model).items()})
    assert describe(half)["precision"] == "float16"


def test_beyond_half_precision(tmp_path):
    model = make_small()
    model.backbone.resnet.bn1.running_var[0] = 1e6
    with pytest.raises(UserError, match=r"bn1\.running_var has values beyond the range of torch\.float16"):
        save_model(model, tmp_path / "half.safetensors", dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_a_detector_beyond_half_precision(tmp_path):
    folder = tmp_path / "detector"
    folder.mkdir()
    state = to_huggingface(detector_state(variant="deformable-detr"))
    state["model.level_embed"][0, 0] = 1e6
    save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "deformable_detr", "decoder_layers": 2}))
    with pytest.raises(UserError, match=r"half\.pth: not written, transformer\.level_embed has .* torch\.float16"):
        convert(folder, tmp_path / "half.pth", half=True)
    assert not (tmp_path / "half.pth").exists()
    convert(folder, tmp_path / "full.pth")
    assert torch.load(tmp_path / "full.pth")["model"]["transformer.level_embed"][0, 0] == 1e6


def test_failure_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "mine.safetensors"
    path.write_text("precious")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserError, match=r"cannot write .*mine\.safetensors: No space left on device"):
        save_model(model, path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_newer_format(model, tmp_path):
    path = tmp_path / "mine.safetensors"
    header = {"format": FORMAT + 1, "config": {}}
    save_file({"query_updater.x": torch.zeros(1)}, path, {"memotr": json.dumps(header)})
    with pytest.raises(UserError, match=f"has format {FORMAT + 1}, but this memotr reads formats up to"):
        load_model(path)
    save_file({"query_updater.x": torch.zeros(1)}, path, {"memotr": "{"})
    with pytest.raises(UserError, match="header is damaged"):
        load_model(path)
    save_file({"query_updater.x": torch.zeros(1)}, path, {"memotr": "[]"})
    with pytest.raises(UserError, match="it was not written by memotr"):
        load_model(path)


def test_training_checkpoint(model, tmp_path):
    """What training of ours leaves is recognised by its header, and tracks."""
    header = {"format": 1, "config": model.config.model_dump(mode="json"), "epoch": 3, "iterations": 60}
    path = tmp_path / "last.pt"
    torch.save({**authors_payload(model), "memotr": header}, path)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.kind, checkpoint.epoch, checkpoint.iterations) == (Kind.TRAINING, 3, 60)
    assert_equal(load_model(path), published_state(model))
    assert "--resume" in describe(path)["use"]
    with pytest.raises(UserError, match="--resume"):
        load_detector(model, path)


# Devices


def test_devices(authors):
    with pytest.raises(UserError, match="device 'gpu' is not one of auto, cpu, cuda"):
        load_model(authors, device="gpu")
    if torch.cuda.is_available():
        assert load_model(authors).device.type == "cuda"
        with pytest.raises(UserError, match="device cuda:99: does not exist; available are cuda:0"):
            load_model(authors, device="cuda:99")
    else:
        assert load_model(authors).device.type == "cpu"
        with pytest.raises(UserError, match=r"device cuda:1: (.*without CUDA|PyTorch finds no .*); choose cpu or"):
            load_model(authors, device="cuda:1")


# Detectors


@pytest.mark.parametrize(
    ("rows", "classes", "taken"),
    [
        (91, 1, [1]),
        (91, 2, [1, 2]),
        (91, 3, [1, 2, 3]),
        (91, 8, None),
        (91, 4, None),
        (5, 5, [0, 1, 2, 3, 4]),
        (5, 1, None),
    ],
)
def test_class_rows(rows, classes, taken, tmp_path):
    state = detector_state(rows)
    torch.save({"model": state}, tmp_path / "detector.pth")
    model = make_small([f"class {i}" for i in range(classes)])
    fresh = {name: tensor.clone() for name, tensor in model.class_embed.state_dict().items()}
    report = load_detector(model, tmp_path / "detector.pth")
    for name, tensor in model.class_embed.state_dict().items():
        assert torch.equal(tensor, fresh[name] if taken is None else state[f"class_embed.{name}"][taken])
    assert bool(report.left_out) == (taken is None)
    assert ("newly initialised" if taken is None else "taken") in report.classes


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_report(variant, tmp_path):
    state = detector_state(variant=variant, num_decoder_layers=3)
    state["backbone.0.body.bn1.num_batches_tracked"] = torch.tensor(5)
    torch.save({"model": state}, tmp_path / "detector.pth")
    model = make_small(variant=variant, num_queries=10)
    report = load_detector(model, tmp_path / "detector.pth")
    queries = {"det_query_embed", "det_anchor"} if variant == "dab" else {"det_query_embed"}
    assert {name for name in report.left_out if ".2." not in name} == queries
    assert {name for name in report.initialised if not name.startswith("query_updater.")} == queries
    assert report.num_parameters == sum(published_state(model)[name].numel() for name in report.loaded)
    text = str(report)
    name = "DAB-Deformable-DETR" if variant == "dab" else "Deformable-DETR"
    assert f"a COCO detector ({name}, 91 classes)" in text
    assert "COCO's row 1 (person) taken for 'person'" in text
    missing = next(line for line in text.splitlines() if "the tracker has no such tensor: " in line)
    assert missing.count("class_embed") == 2, "tensors of a layer are named once, not in every layer"
    width = 32 if variant == "dab" else 64
    assert f"shape (12, {width}), in the tracker (10, {width})" in text
    assert "query_updater (" in text


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        ({"variant": "deformable-detr"}, "set model.variant=dab"),
        ({"hidden_dim": 64}, "set model.hidden_dim=32"),
        ({"backbone": {**BACKBONE, "width": 16}}, "set model.backbone.width=8"),
        ({"backbone": {**BACKBONE, "norm": "group"}}, "set model.backbone.norm=frozen"),
    ],
)
def test_detector_that_does_not_fit(detector, config, remedy):
    model = make_small(**config)
    before = {name: tensor.clone() for name, tensor in published_state(model).items()}
    with pytest.raises(UserError, match=f"does not fit the configuration: .*{remedy}$"):
        load_detector(model, detector)
    assert_equal(model, before)


def test_detector_is_no_tracker(detector):
    with pytest.raises(UserError) as error:
        load_model(detector)
    assert str(error.value) == (
        f"{detector}: is a COCO detector (DAB-Deformable-DETR, 91 classes), not a tracker; "
        f"to train from it use `memotr train ... --pretrained {detector}`"
    )


def test_tracker_is_no_detector(authors, model):
    with pytest.raises(
        UserError, match=r"is a tracker checkpoint, not a detector; .* use --resume, .* use --checkpoint"
    ):
        load_detector(model, authors)


def test_backbone_is_neither(resnet, model):
    with pytest.raises(UserError, match=r"is only a ResNet .* not a tracker"):
        load_model(resnet)
    with pytest.raises(UserError, match=r"is only a ResNet .* not a .*detector"):
        load_detector(model, resnet)
    assert describe(resnet)["kind"] == "backbone"


@pytest.mark.parametrize("form", ["zip", "old", "old NumPy"])
def test_checkpoints_may_contain_numpy_values_and_paths(tmp_path, form):
    path = tmp_path / "detector.pth"
    extra = {"best": np.float64(0.5), "at": np.str_("a"), "done": np.bool_(True), "args": {"output": Path("runs/a")}}
    payload = {"model": detector_state(), "epoch": np.int64(49), **extra, "numpy": np.random.get_state()}  # noqa: NPY002
    torch.save(payload, path, _use_new_zipfile_serialization=form == "zip")
    if form == "old NumPy":  # version 1 names its module without the underscore
        path.write_bytes(path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core."))
    checkpoint = read_checkpoint(path)
    assert (checkpoint.kind, checkpoint.epoch) == (Kind.DETECTOR, 50)
    assert all(torch.equal(checkpoint.state[name], tensor) for name, tensor in detector_state().items())
    read = read_torch(path)
    assert (read["best"], read["done"], read["at"]) == (0.5, True, None)
    assert type(read["epoch"]) is int


@pytest.mark.parametrize("code", ["?", "b", "h", "i", "q", "B", "H", "I", "Q", "e", "f", "d"])
def test_numbers_of_numpy_have_their_value(tmp_path, code):
    number = np.array([113]).astype(code)[0]
    torch.save([number], tmp_path / "file.pth")
    (read,) = read_torch(tmp_path / "file.pth")
    assert read == number.item()
    assert type(read) is type(number.item())


def test_numbers_of_a_big_endian_machine_are_not_misread(tmp_path):
    class Scalar:
        def __reduce__(self):
            return np.float64(0).__reduce__()[0], (BigEndian(), np.array(113.0, ">f8").tobytes())

    class BigEndian:
        def __reduce__(self):
            return np.dtype, ("f8", False, True), (3, ">", None, None, None, -1, -1, 0)

    torch.save([Scalar()], tmp_path / "file.pth")
    assert read_torch(tmp_path / "file.pth") == [None]


def test_two_stage_detector(tmp_path, model):
    state = detector_state(variant="deformable-detr")
    del state["query_embed.weight"]
    torch.save({"model": state}, tmp_path / "two_stage.pth")
    with pytest.raises(UserError, match="two-stage detector, without the learned queries"):
        load_detector(model, tmp_path / "two_stage.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["class_embed.0.bias", "bbox_embed.0.layers.0.weight"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_that_are_not_finite_are_refused(tmp_path, value, name, suffix):
    model, path = make_small(), tmp_path / f"weights.{suffix}"
    published_state(model)[name].view(-1)[0] = value
    if suffix == "pth":
        torch.save({"model": published_state(model)}, path)
    else:
        save_model(model, path)
    for read in (load_model, describe):
        with pytest.raises(UserError) as error:
            read(path)
        assert f"{path}: " in str(error.value)
        assert re.search(rf"tensors contain NaN or infinity \(.*{re.escape(name)}", str(error.value))
        assert "use an earlier checkpoint" in str(error.value)


def test_a_start_from_weights_that_are_not_finite_is_refused(tmp_path, model):
    state = detector_state()
    state["class_embed.0.bias"][1] = torch.nan
    torch.save({"model": state}, tmp_path / "detector.pth")
    with pytest.raises(UserError, match=r"detector\.pth: 1 of its .* NaN or infinity \(class_embed\.0\.bias\)"):
        load_detector(model, tmp_path / "detector.pth")
    resnet = model.backbone.resnet.state_dict()
    torch.save({**resnet, "layer1.0.conv1.weight": resnet["layer1.0.conv1.weight"] / 0}, tmp_path / "resnet.pth")
    with pytest.raises(UserError, match=r"resnet\.pth: 1 of its .* NaN or infinity \(layer1\.0\.conv1\.weight\)"):
        load_backbone(model, tmp_path / "resnet.pth")


# Files that are no checkpoints


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (gzip.compress(b"x", mtime=0), "is compressed"),
        (b"hello", "not readable as a PyTorch checkpoint"),
        (b"\x80\x02}q\x00.", "not readable as a PyTorch checkpoint"),
        (bytes(range(256)) * 20, "not readable as a PyTorch checkpoint"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{not json       ", "not readable as safetensors"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ([1, 2], "it contains a list"),
        (torch.zeros(3), "it contains a single tensor"),
        ({}, "it contains nothing"),
        ({"epoch": 3, "lr": 0.1}, "it contains 2 entries named epoch, lr"),
        ({f"layer{i}": torch.zeros(1) for i in range(9)}, "it contains 9 entries named layer0, layer1, layer2, ..."),
    ],
)
def test_other_payloads(tmp_path, payload, message):
    torch.save(payload, tmp_path / "file.pth")
    with pytest.raises(UserError) as error:
        read_checkpoint(tmp_path / "file.pth")
    assert message in str(error.value)


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"missing\.pth: no such file"):
        load_model(tmp_path / "missing.pth")
    with pytest.raises(UserError, match="is a folder; pass the checkpoint file in it"):
        load_model(tmp_path)


def test_zip_archive(authors, tmp_path):
    with zipfile.ZipFile(tmp_path / "download.zip", "w") as archive:
        archive.write(authors)
    with pytest.raises(UserError, match="an ordinary zip archive; unpack it"):
        load_model(tmp_path / "download.zip")


def test_torchscript(tmp_path):
    path = tmp_path / "program.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"program/{name}", b"")
    with pytest.raises(UserError, match="is a TorchScript program"):
        load_model(path)


@pytest.mark.parametrize("layout", ["authors", "old", "ours"])
def test_damaged_files(layout, model, tmp_path):
    """Cut short, a file is an error; changed somewhere, it is one too or, where only weights were hit, still loads."""
    path = tmp_path / "weights"
    if layout == "ours":
        save_model(model, tmp_path / "weights.safetensors")
        (tmp_path / "weights.safetensors").rename(path)
    else:
        torch.save(authors_payload(model), path, _use_new_zipfile_serialization=layout == "authors")
    content = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for cut in [1, 2, 9, 100, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:cut])
        with pytest.raises(UserError):
            load_model(path, device="cpu")
    anywhere = torch.randint(0, len(content), (15,), generator=generator).tolist()
    for start in [*range(0, 105, 7), *anywhere]:
        path.write_bytes(content[:start] + b"\xff" * 8 + content[start + 8 :])
        with suppress(UserError):  # anything else fails the test
            load_model(path, device="cpu")


# Commands


def run(monkeypatch, capsys, *arguments):
    """The command's exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["memotr", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code or 0, *capsys.readouterr()


def test_info(authors, detector, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "info", authors)
    assert code == 0
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert lines["kind"] == "tracker"
    assert lines["variant"] == "dab"
    assert lines["classes"] == "1: person"
    assert lines["trained"] == "20 epochs, 1,234 iterations"
    assert lines["configuration"] == "inferred from the weights"
    assert lines["use"] == f"memotr track SOURCE --checkpoint {authors}"
    expected = sum(parameter.numel() for parameter in make_small().parameters())
    assert lines["parameters"].startswith(f"{expected:,} in ")
    kind, auto = ("cuda", "tf32") if torch.cuda.is_available() else ("cpu", "32")
    assert lines["tracks with"] == f"--precision {auto} by default on {kind} here"
    code, out, _ = run(monkeypatch, capsys, "info", detector)
    assert "kind: COCO detector (DAB-Deformable-DETR, 91 classes)\n" in out
    assert "trained: 50 epochs\n" in out  # its last epoch is number 49
    assert "tracks with" not in out
    assert f"use: memotr train ... --pretrained {detector}\n" in out


def test_info_of_a_wrong_configuration(authors, model):
    wrong = model.config.model_copy(update={"classes": ("a", "b")})
    (authors.parent / "config.yaml").write_text(wrong.to_yaml())
    assert "it does not fit: the checkpoint has 1 class, the configuration 2" in describe(authors)["configuration"]


def test_errors_are_one_line(tmp_path, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "info", tmp_path / "missing.pth")
    assert (code, out) == (2, "")
    assert err == f"memotr: {tmp_path / 'missing.pth'}: no such file\n"


def test_convert_there_and_back(authors, model, tmp_path, monkeypatch, capsys):
    ours, back = tmp_path / "new" / "ours.safetensors", tmp_path / "back.pth"
    config = tmp_path / "mine.yaml"
    config.write_text(model.config.model_copy(update={"name": "mine"}).to_yaml())
    code, out, _ = run(monkeypatch, capsys, "convert", authors, ours, "--config", config)
    assert code == 0
    assert out == f"wrote {ours}: tracker (dab; person); configuration: {config}\n"
    assert_equal(load_model(ours), published_state(model))
    assert run(monkeypatch, capsys, "convert", ours, back)[0] == 0
    payload = torch.load(back, weights_only=True)
    assert list(payload["model"]) == list(published_state(model)), (
        "the names that strict loading by the authors' code needs"
    )
    assert load_model(back).config.name == "mine", "the configuration travels along"
    assert_equal(load_model(back), published_state(model))
    assert describe(back)["trained"] == "20 epochs"
    assert run(monkeypatch, capsys, "convert", back, tmp_path / "half.pt", "--half")[0] == 0
    assert describe(tmp_path / "half.pt")["precision"] == "float16"


def test_of_a_runs_folder_the_best_is_taken(tmp_path):
    convert("synthdance", tmp_path / "last.safetensors")
    (tmp_path / "epoch_0001.pt").touch()
    with pytest.warns(UserWarning, match=r"is a folder; last\.safetensors in it is used"):
        load_model(tmp_path)
    (tmp_path / "last.safetensors").rename(tmp_path / "best.safetensors")
    (tmp_path / "last.safetensors").touch()
    with pytest.warns(UserWarning, match=r"best\.safetensors in it is used"):
        load_model(tmp_path)


def test_a_setting_that_is_wrong_is_named_as_it_was_given():
    with pytest.raises(UserError, match=r"^'tracking.det_tresh=0.4': unknown key .*did you mean 'det_thresh'"):
        load_model("synthdance", settings=["tracking.miss_tolerance=3", "tracking.det_tresh=0.4"])


def test_weights_are_saved_under_an_honest_name_and_exports_are_no_weights(model, tmp_path):
    with pytest.raises(UserError, match=r"model\.pth: the name must end in \.safetensors"):
        save_model(model, tmp_path / "model.pth")
    (tmp_path / "a.onnx").write_bytes(b"anything")
    with pytest.raises(UserError, match="is an exported tracker, for `memotr track` only"):
        load_model(tmp_path / "a.onnx")


def test_convert_accepts_weights_in_the_package(tmp_path):
    convert("synthdance", tmp_path / "theirs.pth")
    assert "published" in describe(tmp_path / "theirs.pth")["layout"]
    one, other = load_model("synthdance").state_dict(), load_model(tmp_path / "theirs.pth").state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    with pytest.raises(
        UserError, match="synthdancer: no such file, and no weights have this name; did you mean 'synthdance'"
    ):
        convert("synthdancer", tmp_path / "theirs.pth")


def test_convert_never_overwrites_its_source(authors, detector, tmp_path):
    before = authors.read_bytes()
    (tmp_path / "link.pth").symlink_to(authors)
    for target in (authors, tmp_path / "link.pth"):
        with pytest.raises(UserError, match="is the source itself; choose another file to write"):
            convert(authors, target)
    with pytest.raises(UserError, match=r"the name must end in \.safetensors .* or \.pt"):
        convert(authors, tmp_path / "out.onnx")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UserError, match="is a folder; pass the file to write"):
        convert(authors, tmp_path / "folder.pth")
    with pytest.raises(UserError, match="not a tracker"):
        convert(detector, tmp_path / "out.pth")
    assert authors.read_bytes() == before


# The package


def test_public_names():
    assert set(memotr.__all__) <= set(dir(memotr))
    assert all(callable(getattr(memotr, name)) for name in memotr.__all__)
    assert load_config("tiny").name == "tiny"
    with pytest.raises(AttributeError, match="has no attribute 'Traker'"):
        memotr.Traker  # noqa: B018


def test_importing_the_package_is_light():
    code = "import sys, memotr; print(*{'torch', 'numpy', 'cv2', 'pydantic', 'yaml'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_weights_that_ship_are_described_by_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = describe("synthdance")
    assert found["file"] == "synthdance (ships with memotr)"
    assert found["use"] == "memotr track SOURCE --checkpoint synthdance"
    assert found["trained on"].startswith("SynthDance")
    assert list(found)[-1] == "use"
    with pytest.raises(UserError, match="tiny: is a preset for `memotr train tiny`, without weights"):
        describe("tiny")
