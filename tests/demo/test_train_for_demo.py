from memotr import load_model
from memotr.demo import train_for_demo as training
from memotr.demo.train_for_demo import train_for_demo


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
