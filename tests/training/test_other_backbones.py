"""Training of a tracker with a backbone of another library, from pretrained weights to tracking."""

import shutil

import pytest
import torch
from typer.testing import CliRunner

from memotr.cli import app
from memotr.config import load_config
from memotr.errors import UserError
from memotr.training.train import start_model, train
from memotr.weights.describe import describe
from memotr.weights.model_files import load_model
from tests.test_weights import detector_state
from tests.training.builders import SMALL, write_videos

transformers = pytest.importorskip("transformers")

SIZE = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
CONVNEXT = "{{name: 'transformers:convnext', config: {{depths: [1, 1, 1, 1], hidden_sizes: [8, 16, 24, 32]}}{more}}}"
BATCH_NORM = "{name: 'transformers:resnet', config: {depths: [1, 1, 1, 1], hidden_sizes: [8, 16, 24, 32]}}"


def backbone(more=""):
    return f"model.backbone={CONVNEXT.format(more=more)}"


@pytest.fixture
def classifier(tmp_path):
    """Folder of a small pretrained model, as its library writes it."""
    transformers.ConvNextForImageClassification(transformers.ConvNextConfig(**SIZE)).save_pretrained(tmp_path / "given")
    return tmp_path / "given"


def test_a_run_from_pretrained_weights_to_tracking(classifier, tmp_path):
    data, folder, shell = write_videos(tmp_path / "data"), tmp_path / "run", CliRunner()
    options = ["--data-root", str(data), "--output", str(folder), "--device", "cpu"]
    options += ["--checkpoint-activations", "backbone"]
    settings = [*SMALL, backbone(f", weights: '{classifier}'"), "training.epochs=1"]
    result = shell.invoke(app, ["train", "tiny", *settings, *options])
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"the backbone (transformers:convnext) from {classifier}, except 6 fresh" in " ".join(result.stderr.split())

    weights = folder / "last.safetensors"
    assert str(classifier).encode() not in weights.read_bytes(), "paths stay here, weights travel"
    assert describe(weights)["backbone"].startswith("convnext of transformers, depths [1, 1, 1, 1]")
    trained, fresh = load_model(weights), start_model(load_config("tiny", settings), None)[0]
    changed = {
        n for n, p in trained.backbone.named_parameters() if not p.equal(dict(fresh.backbone.named_parameters())[n])
    }
    assert changed == {name for name, _ in fresh.backbone.named_parameters()}

    options = ["--checkpoint", str(weights), "--output", str(tmp_path / "tracked"), "--no-video"]
    result = shell.invoke(app, ["track", str(next(data.iterdir())), *options])
    assert result.exit_code == 0, result.output

    shutil.rmtree(classifier)
    result = shell.invoke(app, ["train", "--resume", str(folder), "training.epochs=2", "--device", "cpu"])
    assert result.exit_code == 0, (result.output, result.exception)
    with pytest.raises(UserError, match=r"leave out model\.backbone\.weights="):
        start_model(load_config("tiny", settings), weights)
    model, said = start_model(load_config("tiny", [*SMALL, backbone()]), weights)
    assert "a tracker" in said
    assert all(p.equal(q) for p, q in zip(model.parameters(), load_model(weights).parameters(), strict=True))


def test_a_detector_with_a_resnet_does_not_fit(tmp_path):
    path = tmp_path / "detector.pth"
    torch.save({"model": detector_state()}, path)
    with pytest.raises(UserError, match=r"model\.backbone\.name is resnet in the checkpoint, transformers:convnext in"):
        start_model(load_config("tiny", [*SMALL, backbone()]), path)


def test_batch_normalisation_and_recomputing_exclude_each_other(tmp_path):
    write_videos(tmp_path / "data")
    settings = [*SMALL, f"model.backbone={BATCH_NORM}", f"data.root={tmp_path / 'data'}"]
    config = load_config("tiny", [*settings, "training.checkpoint_activations=[backbone]"])
    with pytest.raises(UserError, match="batch normalisation would update its statistics twice per batch"):
        train(config, tmp_path / "run", device="cpu")
