"""Training with compiled layers, here by a compiler that leaves every operator as it is."""

import json

import pytest
import torch

from memotr.config import load_config
from memotr.errors import UserError
from memotr.training.train import train
from tests.training.builders import SMALL


def compile_by(backend, monkeypatch):
    """Have ``torch.compile`` use a backend; return the list of what it compiles."""
    compiled, real = [], torch.compile

    def compile(function, **options):
        compiled.append(function)
        return real(function, **{**options, "backend": backend})

    monkeypatch.setattr(torch, "compile", compile)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return compiled


def run(data, folder, *more):
    config = load_config("tiny", [*SMALL, "training.epochs=2", f"data.root={data}", *more])
    assert train(config, folder, device="cpu") == 0
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").open()]


def test_compiled_training_has_the_same_losses(data, tmp_path, monkeypatch):
    """Also with a prefix without gradient and with recomputed activations; graphs are for all sizes."""
    settings = ["training.no_grad_frames=[1]", "training.no_grad_steps=[1]"]
    expected = run(data, tmp_path / "eager", *settings)
    compiled = compile_by("aot_eager", monkeypatch)
    assert run(data, tmp_path / "compiled", *settings, "training.compile=true") == pytest.approx(expected, rel=1e-6)
    assert len(compiled) == 4, "one layer of the encoder, three of the decoder"
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 12
    assert not torch._dynamo.utils.counters["graph_break"]


def test_a_failed_compilation_is_reported_with_its_reason(data, tmp_path, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler")

    compile_by(broken, monkeypatch)
    with pytest.raises(UserError, match=r"torch.compile does not work here \(.*no C\+\+ compiler.*without --compile"):
        run(data, tmp_path, "training.compile=true")
