import signal

from typer.testing import CliRunner

from memotr import load_model
from memotr.cli import app
from memotr.demo import train_for_demo as training
from memotr.demo.train_for_demo import train_for_demo
from memotr.training.engine import Training


def test_a_tiny_tracker_comes_out_and_a_second_call_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "SEQUENCES", 1)
    fast = "training.epochs=1", "training.optimizer.milestones=[]", "data.sampling.steps=[1]"
    monkeypatch.setattr(training, "SETTINGS", (*training.SETTINGS, *fast))
    weights, code = train_for_demo(tmp_path)
    assert code == 0
    assert load_model(str(weights)).config.input.short_side == 96
    steps = (tmp_path / "run" / "metrics.jsonl").read_text().count("\n")
    assert steps
    assert train_for_demo(tmp_path) == (weights, 0)
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == steps, "all epochs are done"


def test_a_stopped_training_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    """The command has no --resume; the same command continues, and so does `memotr train`."""
    monkeypatch.setattr(training, "SEQUENCES", 1)
    monkeypatch.setattr(
        training,
        "SETTINGS",
        (*training.SETTINGS, "training.epochs=1", "training.optimizer.milestones=[]", "data.sampling.steps=[1]"),
    )
    begin = Training.run

    def stopped(self):
        self.stop.signal = signal.SIGTERM
        begin(self)

    monkeypatch.setattr(Training, "run", stopped)
    result = CliRunner().invoke(app, ["demo", "--train", "--output", str(tmp_path), "--device", "cpu"])
    assert result.exit_code == 128 + signal.SIGTERM
    *_, how, again = result.output.splitlines()
    assert how.endswith(f"; go on with `memotr train --resume {tmp_path}/training/run`")
    assert again == "memotr: the same `memotr demo --train` continues the training"
