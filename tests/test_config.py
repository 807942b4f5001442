import re

import pytest
import torch
import yaml

from memotr.build import build_model
from memotr.config import Config, load_config, make_config, preset_names
from memotr.errors import UserError
from tests.mutations import SEEDS, survives

PUBLISHED = """\
DATASET: BDD100K
USE_DAB: False
BACKBONE: resnet50
HIDDEN_DIM: 128
FFN_DIM: 512
NUM_DEC_LAYERS: 4
MISS_TOLERANCE: 10
DET_SCORE_THRESH: 0.4
LR: 2.0e-4
RESUME:
"""


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid_and_round_trip(name, tmp_path):
    config = load_config(name)
    assert config.name == name
    (tmp_path / "copy.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "copy.yaml") == config


def test_published_presets_differ_as_published():
    assert load_config("dancetrack").model.ffn_dim == 2048
    assert load_config("dancetrack-deformable-detr").model.ffn_dim == 1024
    tolerances = [load_config(n).tracking.miss_tolerance for n in ("dancetrack", "sportsmot", "mot17", "bdd100k")]
    assert tolerances == [30, 30, 15, 10]
    assert len(load_config("bdd100k").classes) == 8


def test_overrides():
    config = load_config("tiny", ["tracking.det_thresh=0.4", "classes=[cat, dog]", "model.backbone.width=8"])
    assert config.tracking.det_thresh == 0.4
    assert config.classes == ("cat", "dog")
    assert build_model(config).class_embed[0].out_features == 2


def test_lengths_intervals_and_batches_change_at_the_steps():
    stages = [
        "data.sampling={lengths: [2, 3, 4], steps: [2, 5], intervals: [9, 7, 5]}",
        "training.batch_sizes=[8, 4, 2]",
    ]
    config = load_config("tiny", stages)
    sampling = config.data.sampling
    assert [sampling.length(epoch) for epoch in range(7)] == [2, 2, 3, 3, 3, 4, 4]
    assert [sampling.largest_interval(epoch) for epoch in range(7)] == [9, 9, 7, 7, 7, 5, 5]
    assert [config.batch_size(epoch) for epoch in range(7)] == [8, 8, 4, 4, 4, 2, 2]


def test_precision_may_be_a_number():
    assert load_config("tiny", ["training.precision=32"]).training.precision == "32"


def test_the_authors_yaml_is_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(PUBLISHED)
    config = load_config(path)
    assert config.model.variant == "deformable-detr"
    assert (config.model.hidden_dim, config.model.ffn_dim, config.model.num_decoder_layers) == (128, 512, 4)
    assert config.tracking.miss_tolerance == 10
    assert config.tracking.det_thresh == 0.4
    assert config.classes[0] == "pedestrian"


PUBLISHED_TRAINING = {
    "DATASET": "MOT17",
    "USE_DAB": True,
    "FFN_DIM": 2048,
    "MISS_TOLERANCE": 15,
    "NUM_WORKERS": 4,
    "BATCH_SIZE": 1,
    "ACCUMULATION_STEPS": 1,
    "COCO_SIZE": True,
    "OVERFLOW_BBOX": True,
    "REVERSE_CLIP": 0.0,
    "SAMPLE_STEPS": [60, 100],
    "SAMPLE_LENGTHS": [2, 3, 4, 5],
    "SAMPLE_MODES": ["random_interval"],
    "SAMPLE_INTERVALS": [10],
    "SAMPLE_MOT17_JOIN": 0,
    "SEED": 42,
    "EPOCHS": 130,
    "ONLY_TRAIN_QUERY_UPDATER_AFTER": 130,
    "TP_DROP_RATE": 0.0,
    "FP_INSERT_RATE": 0.0,
    "LR": 2.0e-4,
    "LR_BACKBONE": 2.0e-5,
    "LR_POINTS": 2.0e-5,
    "WEIGHT_DECAY": 1.0e-4,
    "CLIP_MAX_NORM": 0.1,
    "LR_SCHEDULER": "MultiStep",
    "LR_DROP_RATE": 0.1,
    "LR_DROP_MILESTONES": [120],
    "MATCH_COST_CLASS": 2,
    "MATCH_COST_BBOX": 5,
    "MATCH_COST_GIOU": 2,
    "LOSS_WEIGHT_FOCAL": 2,
    "LOSS_WEIGHT_L1": 5,
    "LOSS_WEIGHT_GIOU": 2,
    "AUX_LOSS_WEIGHT": [1.0] * 5,
    "USE_MOTSYNTH": None,
    "DATA_ROOT": None,
}
"""What the authors trained their MOT17 model with (their ``train/config.yaml``)."""


def read_published(tmp_path, **changes):
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump({**PUBLISHED_TRAINING, **changes}))
    return load_config(path)


@pytest.mark.parametrize(("text", "variant"), [("", "deformable-detr"), ("USE_DAB: true", "dab")])
def test_the_authors_variant(text, variant, tmp_path):
    (tmp_path / "config.yaml").write_text(f"DATASET: DanceTrack\n{text}\n")
    assert load_config(tmp_path / "config.yaml").model.variant == variant


def test_the_authors_mot17_training_is_our_preset(tmp_path):
    theirs, ours = read_published(tmp_path), load_config("mot17")
    assert theirs.data == ours.data
    aux = theirs.training.loss.model_copy(update={"aux": None})
    assert theirs.training.model_copy(update={"loss": aux}) == ours.training
    assert (theirs.model, theirs.tracking) == (ours.model, ours.tracking)


def test_the_authors_other_trainings_are_our_presets(tmp_path):
    common = {
        "COCO_SIZE": False,
        "OVERFLOW_BBOX": False,
        "LR_POINTS": 1e-5,
        "WEIGHT_DECAY": 5e-4,
        "AUX_LOSS_WEIGHT": None,
    }
    dancetrack = {"EPOCHS": 20, "SAMPLE_STEPS": [6, 10, 14], "LR_DROP_MILESTONES": [12]}
    sportsmot = {"EPOCHS": 28, "SAMPLE_STEPS": [10, 16, 22], "LR_DROP_MILESTONES": [18]}
    bdd100k = {"EPOCHS": 13, "SAMPLE_STEPS": [6, 10], "LR_DROP_MILESTONES": [12], "WEIGHT_DECAY": 2e-4}
    bdd100k |= {"SAMPLE_LENGTHS": [2, 3, 4], "SAMPLE_INTERVALS": [4, 4, 4], "NUM_WORKERS": 8, "OVERFLOW_BBOX": None}
    for dataset, changes in {"DanceTrack": dancetrack, "SportsMOT": sportsmot, "BDD100K": bdd100k}.items():
        until = {"ONLY_TRAIN_QUERY_UPDATER_AFTER": None if dataset == "BDD100K" else changes["EPOCHS"]}
        theirs = read_published(tmp_path, DATASET=dataset, **{**common, **changes, **until})
        ours = load_config(dataset.lower())
        assert theirs.training == ours.training, dataset
        assert theirs.data == ours.data.model_copy(update={"val": None}), dataset


def test_an_unsupported_schedule_gives_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="LR_SCHEDULER is 'Cosine'; training would use 'MultiStep'"):
        read_published(tmp_path, LR_SCHEDULER="Cosine")


def test_synthetic_clips_join_at_their_rate(tmp_path):
    config = read_published(tmp_path, USE_MOTSYNTH=True, MOTSYNTH_RATE=0.1, SAMPLE_MOT17_JOIN=5, USE_CHECKPOINT=True)
    assert [(s.path, s.weight, s.join_epoch) for s in config.data.train] == [
        ("MOT17", 1.0, 5),
        ("CrowdHuman", 1.0, 0),
        ("MOTSynth", 0.1, 0),
    ]
    assert config.training.checkpoint_activations == ("backbone", "encoder", "decoder")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {hiden_dim: 256}", "unknown key 'model.hiden_dim'; did you mean 'hidden_dim'?"),
        ("tracking: {motion: {enable: true}}", "did you mean 'enabled'?"),
        ("model: {num_heads: 7}", "hidden_dim 256 is not divisible by num_heads 7"),
        ("tracking: {det_thresh: 1.5}", "tracking.det_thresh: Input should be less than or equal to 1, found 1.5"),
        ("tracking: {motion: {min_length: 6}}", "tracking.motion: min_length 6 exceeds max_length 5"),
        ("classes: [cat, dog, cat]", "classes: every class has a name of its own, found 'cat' 2 times"),
        ("name: ../../x", "name: '../../x' would be a folder outside of runs/"),
        ("name: /x", "name: '/x' would be a folder outside of runs/"),
        (r"name: c:\x", r"name: 'c:\\x' would be a folder outside of runs/"),
        ("name: ''", "name: '' would be a folder outside of runs/"),
        ("training: {seed: 9223372036854775808}", "training.seed: Input should be less than 9223372036854775808"),
        ("data: {train: {path: x}}", "data.train: expected a list, given as a whole as [...], found {'path': 'x'}"),
        ("model: [1", "not valid YAML"),
        ("just text", "expected settings as 'key: value' lines"),
        ("DATASET: KITTI", "DATASET 'KITTI' is not one of DanceTrack"),
        ("DATASET: [x]", "DATASET ['x'] is not one of DanceTrack"),
        ("data: {train: [{path: x, splitt: y}]}", "unknown key 'data.train.0.splitt'; did you mean 'split'?"),
        ("data: {sampling: {lengths: [2, 3], steps: [1, 2]}}", "2 lengths need 1 steps"),
        ("data: {sampling: {steps: [6, 6, 14]}}", "steps must ascend, found (6, 6, 14)"),
        ("data: {augmentation: {crop_max_size: 799}}", "crop_min_size 800 exceeds crop_max_size 799"),
        ("model: {merge_layer: 7}", "merge_layer 7 exceeds num_decoder_layers 6"),
        ("training: {no_grad_frames: [1]}", "1 no_grad_frames for 0 no_grad_steps"),
        ("training: {batch_sizes: [8, 4]}", "training.batch_sizes has 2 numbers, data.sampling.lengths 4"),
        ("training: {loss: {aux: [1, 1]}}", "training.loss.aux has 2 weights, but there are 5 decoder layers"),
        (
            "{model: {backbone: {norm: batch}}, training: {checkpoint_activations: [backbone]}}",
            "a backbone with norm 'batch' would count every batch twice",
        ),
        ("DATASET: MOT17\nBACKBONE: swin", "BACKBONE is 'swin'; only 'resnet50' is supported"),
    ],
)
def test_bad_settings_are_one_clear_line(text, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "data: {augmentation: {crop_max_size: 800}}",
        "tracking: {motion: {min_length: 5}}",
        "model: {merge_layer: 6}",
        "model: {hidden_dim: 32}",
    ],
)
def test_limits_themselves_are_accepted(text, tmp_path):
    (tmp_path / "good.yaml").write_text(text)
    load_config(tmp_path / "good.yaml")


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(path)


@pytest.mark.parametrize(("source", "message"), [("no-such", "presets are"), ("gone.yaml", "no such configuration")])
def test_missing_sources_are_named(source, message):
    with pytest.raises(UserError, match=message):
        load_config(source)


def test_a_configuration_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "weights.yaml"
    path.write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(UserError, match=r"cannot read .*weights.yaml: it is not text"):
        load_config(path)


@pytest.mark.parametrize("override", ["tracking.det_thresh", "name.x=1", "classes=[cat"])
def test_bad_overrides_are_named(override):
    with pytest.raises(UserError, match=re.escape(override)):
        load_config("tiny", [override])


@pytest.mark.parametrize("preset", ["dancetrack", "tiny"])
@pytest.mark.parametrize("key", ["data.train.0.path", "data.train.0", "data.train.path"])
def test_a_list_is_overridden_as_a_whole(preset, key):
    """Whether the preset says something of the list or leaves it as it is by default."""
    with pytest.raises(UserError, match=r"data.train.* a list, .*given as a whole"):
        load_config(preset, [f"{key}=X"])
    assert load_config(preset, ["data.train=[{path: X}]"]).data.train[0].path == "X"


def test_the_largest_seed():
    assert load_config("tiny", [f"training.seed={2**63 - 1}"]).training.seed == 2**63 - 1


@pytest.mark.parametrize(
    ("key", "meant"),
    [("HIDEN_DIM", "HIDDEN_DIM"), ("miss_tolerance", "MISS_TOLERANCE"), ("NUM_ENC_LAYER", "NUM_ENC_LAYERS")],
)
def test_a_misspelt_key_of_the_authors(tmp_path, key, meant):
    with pytest.raises(UserError, match=f"published.yaml: unknown key '{key}'; did you mean '{meant}'"):
        read_published(tmp_path, **{key: 7})


def test_other_keys_of_the_authors_code_are_passed_over(tmp_path):
    further = {"GIT_VERSION": None, "MODE": "train", "SOMETHING_OF_A_LATER_VERSION": 1}
    assert read_published(tmp_path, **further) == read_published(tmp_path)


def test_the_authors_intervals_hold_for_their_lengths(tmp_path):
    several = read_published(tmp_path, SAMPLE_INTERVALS=[10, 5]).data.sampling
    assert (several.lengths, several.intervals) == ((2, 3, 4), (10, 5, 5))
    single = read_published(tmp_path, SAMPLE_LENGTHS=[4], SAMPLE_STEPS=[], SAMPLE_INTERVALS=[3]).data.sampling
    assert (single.lengths, single.interval, single.intervals) == ((4,), 3, ())


def test_the_authors_interval_holds_without_their_lengths(tmp_path):
    sampling = read_published(tmp_path, SAMPLE_LENGTHS=None, SAMPLE_STEPS=None, SAMPLE_INTERVALS=[7, 7]).data.sampling
    assert (sampling.lengths, sampling.interval, sampling.intervals) == ((2, 3, 4, 5), 7, ())
    with pytest.raises(UserError, match=r"published.yaml: SAMPLE_INTERVALS is \[7, 3\], but SAMPLE_LENGTHS"):
        read_published(tmp_path, SAMPLE_LENGTHS=None, SAMPLE_INTERVALS=[7, 3])


@pytest.mark.parametrize("key", ["SAMPLE_LENGTHS", "SAMPLE_STEPS", "SAMPLE_INTERVALS"])
@pytest.mark.parametrize("value", [3, "3", [[3]]])
def test_the_authors_lists_are_lists(tmp_path, key, value):
    with pytest.raises(UserError, match=f"published.yaml: {key} is .*; expected a list of whole numbers"):
        read_published(tmp_path, **{key: value})


def test_the_authors_can_leave_crowdhuman_out(tmp_path):
    assert [split.path for split in read_published(tmp_path, USE_CROWDHUMAN=False).data.train] == ["MOT17"]
    assert [split.path for split in read_published(tmp_path, USE_CROWDHUMAN=None).data.train] == ["MOT17", "CrowdHuman"]


def parts(schema):
    """Every schema of a value within a schema."""
    if isinstance(schema, dict):
        if "type" in schema:
            yield schema
        for inner in schema.values():
            yield from parts(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from parts(inner)


def test_every_setting_has_an_upper_bound():
    bounds = {
        "integer": {"maximum", "exclusiveMaximum"},
        "number": {"maximum", "exclusiveMaximum"},
        "array": {"maxItems"},
        "string": {"maxLength", "enum", "const"},
    }
    schema = Config.model_json_schema()
    found = [part for part in parts([schema, *schema["$defs"].values()]) if part["type"] in bounds]
    assert len(found) > 100
    unbounded = [part for part in found if not bounds[part["type"]] & part.keys()]
    assert not unbounded


@pytest.mark.parametrize(
    "setting",
    [
        "model.num_queries=10000000",
        "model.num_decoder_layers=1000000000",
        "model.num_encoder_layers=1000000000",
        "model.num_levels=1000000",
        "model.num_heads=100000",
        "model.num_decoder_points=100000",
        "model.hidden_dim=1024000",
        "model.ffn_dim=1000000000",
        "model.backbone.width=1000000",
        "model.backbone.depths=[1,1,1,1000000]",
        "tracking.miss_tolerance=10000000000000000000",
        "tracking.miss_tolerance=1.0e+19",
        "tracking.max_tracks=1000000000",
        "tracking.det_thresh=.nan",
        "tracking.min_area=.inf",
        "tracking.motion.max_length=1000000000",
        "training.optimizer.lr=.inf",
        "training.optimizer.lr=.nan",
        "training.epochs=9223372036854775808",
        "training.batch_size=100000000",
        "data.workers=1000000",
        "input.short_side=9223372036854775808",
        "input.longest_side=100000000",
        "data.sampling.lengths=[1000000000]",
        "name='a\x01b'",
        'classes=["a\\nb"]',
        'classes=["\\ud800"]',
        'classes=["\\0"]',
        "name=" + "x" * 1000,
        "data.root=" + "x" * 100_000,
        "model=" + "[" * 3000,
        "training.seed=" + "1" * 5000,
        "training.epochs=2001-99-99",
        "model=2001-99-99",
        "a." * 3000 + "b=1",
    ],
    ids=lambda setting: setting[:40].encode("unicode_escape").decode(),
)
def test_absurd_values_are_one_line(setting, tmp_path):
    with pytest.raises(UserError) as error:
        load_config("tiny", [setting])
    assert "\n" not in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


def test_networks_of_absurd_size_are_refused_before_they_are_built():
    with pytest.raises(UserError, match=r"model has about 14,\d{3},\d{3},\d{3} parameters, more than the 300,000,000"):
        load_config("tiny", ["model.hidden_dim=9984", "model.ffn_dim=100000"])
    with pytest.raises(UserError, match="classes: Tuple should have at most 10000 items"):
        make_config({"classes": [f"class {i}" for i in range(10_001)]}, "here")


@pytest.mark.parametrize("name", preset_names())
def test_the_number_of_parameters_is_known_without_building(name):
    config = load_config(name)
    with torch.device("meta"):
        real = sum(parameter.numel() for parameter in build_model(config).parameters())
    assert config.model.count_parameters(len(config.classes)) == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NUM_DET_QUERIES", 10**7),
        ("NUM_DEC_LAYERS", 10**9),
        ("MISS_TOLERANCE", 10**18),
        ("SAMPLE_LENGTHS", [10**9]),
        ("LR", ".inf"),
        ("DATASET", "x" * 10**5),
        ("LR_DROP_MILESTONES", list(range(1, 5000))),
        ("SAMPLE_STEPS", [[[1]]]),
    ],
)
def test_absurd_values_in_the_authors_files_are_one_line(key, value, tmp_path):
    file = tmp_path / "theirs.yaml"
    file.write_text("DATASET: DanceTrack\nSAMPLE_STEPS: [1]\n".replace(f"{key}:", "#") + f"{key}: {value}\n")
    with pytest.raises(UserError, match=r"theirs\.yaml") as error:
        load_config(file)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_settings_that_no_file_could_hold_are_one_line():
    nested = {}
    for _ in range(3000):
        nested = {"model": nested}
    for raw in (nested, {"name": "\ud800"}, {"classes": [1 << 70]}, {"model": torch.zeros(3, 3)}, {"a\nb": 1}, {1: 2}):
        with pytest.raises(UserError) as error:
            make_config(raw, "weights.pt")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("mutations", SEEDS)
@pytest.mark.parametrize("text", [PUBLISHED, load_config("tiny").to_yaml()], ids=["theirs", "ours"])
@pytest.mark.filterwarnings("ignore:.*training would use")
def test_hostile_files(text, mutations, tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text(text)
    survives([file], lambda: load_config(file).to_yaml(), mutations)
