"""All tensors of every benchmark part are on the requested device.

The tests use the meta device, which computes nothing, refuses tensors of other devices, and cannot be read from.
"""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from memotr.bench import frame, operator, outside, training
from memotr.bench.scene import CrowdTracker, make_crowd, make_model
from memotr.structures import ImageBatch
from memotr.tracking.compiled import CompiledTracker
from memotr.training import matching
from tests.bench.test_parts import shrunk

META = torch.device("meta")


def options():
    return replace(shrunk(), device="meta")


@pytest.fixture(autouse=True)
def without_autocast(monkeypatch):
    """Autocast does not know the device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


@pytest.mark.parametrize("setup", training.SETUPS, ids=lambda setup: setup.name)
def test_training(setup, monkeypatch):
    """A whole step; what decisions need of the device is zero."""
    monkeypatch.setattr(matching, "_read", lambda tensors: [np.zeros(t.shape, np.float32) for t in tensors])
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: 0.0)
    step = training.Step(options(), setup)
    step()
    tensors = [*step.runner.parameters(), *step.runner.buffers()]
    assert all(tensor.is_meta for tensor in tensors)
    moments = [state["exp_avg"] for state in step.optimizer.state.values()]
    assert len(moments) > 50
    assert all(tensor.is_meta for tensor in moments)


@pytest.mark.parametrize(
    "setup",
    [setup for setup in (*frame.SETUPS, *frame.COMPILED) if setup.precision == "32"],
    ids=lambda setup: setup.name,
)
def test_frame(setup, monkeypatch):
    """The network and the memory of each setup."""
    monkeypatch.setattr(torch, "compile", lambda step, **_: step)
    size = options().sizes[0]
    step = frame.PreparedStep(make_model(options(), size), size, 3, setup)
    tracker, images = step.tracker, ImageBatch(step.images.pixels, step.images.mask)
    tracker.reset()
    if isinstance(tracker, CompiledTracker):
        tracker.network.prepare_layout(step.images)
        slots, next_id, vacant = tracker.video.state
        table = tracker._run_slots(images, vacant, next_id, slots)[0]
    else:
        tracks = tracker.all_tracks() if isinstance(tracker, frame.PlainTracker) else tracker.tracks
        table = tracker.network(images, [tracks])[0].boxes
        assert tracker.network.memory(tracks).query_embed.is_meta
    assert table.is_meta


@pytest.mark.parametrize("queries", [None, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operator(queries, dtype):
    inputs = operator.make_inputs(((4, 6), (2, 3)), queries, (2, 8, 2), dtype, META)
    for run in operator.operators_on(META).values():
        assert inputs.forward(run).is_meta
        backward = operator.Backward(run, inputs)
        backward.prepare()
        assert all(gradient.is_meta for gradient in backward())


def test_outside_and_track():
    """Their tracker, on a frame as the reader prepares it."""
    size = options().sizes[0]
    model = make_model(options(), size)
    crowd = make_crowd(model, 3)
    tracker = CrowdTracker(model, crowd)
    images = ImageBatch.from_images([torch.zeros(3, *size)]).to(model.device)
    assert outside.forward(tracker, images, crowd)[0].boxes.is_meta
