import re

import pytest
import yaml

from memotr.build import build_model
from memotr.config import load_config, preset_names
from memotr.errors import UserError

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


def test_a_schedule_that_is_not_offered_is_said(tmp_path):
    with pytest.warns(UserWarning, match="LR_SCHEDULER is 'Cosine'; training would take 'MultiStep'"):
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
    with pytest.raises(UserError, match=f"published.yaml: {key} is .*; it is a list of whole numbers"):
        read_published(tmp_path, **{key: value})


def test_the_authors_can_leave_crowdhuman_out(tmp_path):
    assert [split.path for split in read_published(tmp_path, USE_CROWDHUMAN=False).data.train] == ["MOT17"]
    assert [split.path for split in read_published(tmp_path, USE_CROWDHUMAN=None).data.train] == ["MOT17", "CrowdHuman"]
