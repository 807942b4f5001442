"""Cost of a training step on the host: waits for the device and dispatched operators."""

import numpy as np
import pytest
import torch

from memotr.bench.host import HostWork
from memotr.bench.options import Options
from memotr.bench.training import make_clip
from memotr.build import build_model
from memotr.config import LossConfig, load_config
from memotr.structures import ClipBatch, ImageBatch
from memotr.training import matching
from memotr.training.clip_runner import ClipRunner
from tests.builders import tiny_model
from tests.training.builders import random_clip
from tests.training.trajectory import exact_model, make_clips, one_of


@pytest.mark.parametrize("videos", [1, 2])
@pytest.mark.parametrize("how", ["plain", "perturbed", "identity"])
def test_the_host_waits_once_a_frame(videos, how):
    settings = {
        "plain": {},
        "perturbed": {"drop_rate": 0.2, "insert_rate": 0.5, "keep_strays": True},
        "identity": {"loss": LossConfig(identity=0.5)},
    }[how]
    runner = ClipRunner(exact_model("dab"), **settings)
    clip = make_clips("dab")[0] if videos == 2 else one_of(make_clips("dab")[0], 0)
    work = HostWork()
    with work.counting():
        result = runner(clip, generator=torch.Generator().manual_seed(0))
        result.total.backward()
    assert any(state.ids.ge(0).any() for states in result.tracks for state in states)
    assert work.waiting == []
    assert work.waits == len(clip)


@pytest.mark.cuda
def test_on_a_gpu_nothing_else_waits(monkeypatch):
    """PyTorch raises an error where the host would wait, but for the copies."""
    copies, copy = [], torch.Tensor.cpu

    def allowed(tensor):
        copies.append(tensor.shape)
        torch.cuda.set_sync_debug_mode("default")
        try:
            return copy(tensor)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    runner = ClipRunner(exact_model("dab").float().cuda(), frames_at_once=2)
    frames = [ImageBatch(images.pixels.float(), images.mask, images.sizes) for images in make_clips("dab")[0].frames]
    clip = ClipBatch(frames, make_clips("dab")[0].targets).to("cuda")
    runner(clip).total.backward()  # compiles kernels
    monkeypatch.setattr(torch.Tensor, "cpu", allowed)
    torch.cuda.set_sync_debug_mode("error")
    try:
        runner(clip).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(copies) == len(clip)


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("preset", ["dancetrack", "dancetrack-deformable-detr"])
def test_operators_of_a_step(preset, precision):
    """Of the published network in full depth: their number depends neither on its width nor on the images' size."""
    narrow = ["backbone.width=8", "hidden_dim=32", "ffn_dim=32", "num_queries=20"]
    config = load_config(preset, [f"model.{setting}" for setting in narrow])
    runner = ClipRunner(build_model(config).train(), frames_at_once=5)
    clip = make_clip(Options(config, clip_frames=5, clip_size=(60, 90), clip_objects=10))
    for _ in range(2):  # the first time kernels are compiled
        runner.zero_grad()
        work = HostWork()
        with work.counting(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            result = runner(clip)
            result.total.backward()
    assert all(len(state) == 10 for (state,) in result.tracks)
    assert work.operators <= 16_000


def test_everything_is_made_on_the_device(monkeypatch):
    """On a device that computes nothing and from which nothing can be read, but what decisions need."""

    def read(tensors):
        return [np.zeros(tensor.shape, np.float32) for tensor in tensors]

    monkeypatch.setattr(matching, "_read", read)
    model = tiny_model(classes=2).to("meta").train()
    for settings in ({}, {"loss": LossConfig(identity=0.5)}, {"drop_rate": 0.2, "insert_rate": 0.5}):
        runner = ClipRunner(model, frames_at_once=2, **settings)
        clip = random_clip([[3, 2], [2, 3], [0, 4]]).to("meta")
        result = runner(clip, 1, torch.Generator())
        result.total.backward()
        assert result.total.is_meta
        assert all(tensor.is_meta for tensor in (*runner.parameters(), *runner.buffers()))
