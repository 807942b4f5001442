"""Comparison with the published tracker: every fixture of the golden folder, on every device that is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memotr.config import LossConfig
from memotr.data.preprocess import preprocess
from memotr.models.kernels import deformable_attention
from memotr.structures import ClipBatch, FrameTargets, ImageBatch
from memotr.tracking.tracker import Tracker
from memotr.weights.published_names import published
from tests.parity import golden
from tests.parity.harness import FOLDER, Fixture, model_of

UNIT, LOGIT = 1e-4, 1e-3  # absolute tolerances, the same on every device
DEVICES = ["cpu", *(pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("cuda", "mps"))]


def assert_close(actual, expected, tolerance, what):
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    worst = (actual.cpu().double() - expected.double()).abs().max().item() if actual.numel() else 0.0
    assert worst <= tolerance, f"{what}: off by {worst:.2e}"


def golden_frame(name, size, seed, device):
    return ImageBatch.from_images([torch.from_numpy(golden.tensor(name, (3, *size), seed))]).to(device)


def check_msda(fixture, device):
    meta = fixture.meta
    shapes = [tuple(shape) for shape in meta["spatial_shapes_hw"]]
    batch, heads, dim = meta["batch"], meta["heads"], meta["channels_per_head"]
    positions = sum(h * w for h, w in shapes)
    inputs = {
        "value": torch.from_numpy(golden.tensor("value", (batch, positions, heads, dim), meta["seed"])),
        "sampling_locations": fixture["sampling_locations"],
        "attention_weights": fixture["attention_weights"],
    }
    grad = torch.from_numpy(golden.tensor("grad_output", (batch, meta["queries"], heads * dim), meta["seed"]))
    for kernel in ("reference", "auto"):
        leaves = {name: x.to(device, copy=True).requires_grad_() for name, x in inputs.items()}
        value, locations, weights = leaves.values()
        output = deformable_attention(value, shapes, locations, weights, kernel=kernel)
        assert_close(output, fixture["output"], UNIT, f"{kernel} output")
        output.backward(grad.to(device))
        for name, leaf in leaves.items():
            expected = fixture[f"grad_{name}"]
            assert_close(leaf.grad, expected, UNIT * max(1.0, expected.abs().max().item()), f"{kernel} grad_{name}")


def check_frame(fixture, device):
    model = model_of(fixture, device).eval()
    images = golden_frame("frame0", fixture.meta["frame_sizes_hw"][0], fixture.meta["seed"], device)
    with torch.inference_mode():
        output = model(images, [model.no_tracks()])[0]
    assert_close(output.logits, fixture["pred_logits"], LOGIT, "logits")
    assert_close(output.boxes, fixture["pred_boxes"], UNIT, "boxes")
    assert_close(output.output_embed[::10], fixture["outputs_sample"], LOGIT, "outputs")


def check_outputs(fixture, t, output):
    """What the model says of frame t; the first frames in full."""
    assert_close(output.logits, fixture[f"{t}.pred_logits"], LOGIT, f"frame {t} logits")
    assert_close(output.boxes, fixture[f"{t}.pred_boxes"], UNIT, f"frame {t} boxes")
    if f"{t}.outputs" not in fixture:
        return
    assert_close(output.output_embed, fixture[f"{t}.outputs"], LOGIT, f"frame {t} outputs")
    assert_close(output.ref_pts, fixture[f"{t}.last_ref_pts"], LOGIT, f"frame {t} last_ref_pts")
    assert_close(output.init_ref_pts, fixture[f"{t}.init_ref_pts"], LOGIT, f"frame {t} init_ref_pts")
    every = output.layers
    assert_close(every.logits[:-1], fixture[f"{t}.aux_logits"], LOGIT, f"frame {t} aux_logits")
    assert_close(every.boxes[:-1], fixture[f"{t}.aux_boxes"], UNIT, f"frame {t} aux_boxes")
    assert_close(every.output_embed[:-1], fixture[f"{t}.aux_queries"], LOGIT, f"frame {t} aux_queries")


def check_tracks(fixture, t, tracks):
    """The tracks that go on from frame t, with their memories."""
    fields = {
        "ids": (tracks.ids, 0),
        "labels": (tracks.labels, 0),
        "disappear_time": (tracks.disappear_time, 0),
        "scores": (tracks.scores, UNIT),
        "boxes": (tracks.boxes, UNIT),
        "ref_pts": (tracks.ref_pts, LOGIT),
        "query_embed": (tracks.query_embed, LOGIT),
        "long_memory": (tracks.long_memory, LOGIT),
        "last_output": (tracks.last_output, LOGIT),
    }
    for name, (actual, tolerance) in fields.items():
        if f"{t}.track_{name}" in fixture:
            assert_close(actual, fixture[f"{t}.track_{name}"], tolerance, f"frame {t} track_{name}")


def check_sequence(fixture, device):
    meta = fixture.meta
    tracker = Tracker(
        model_of(fixture, device),
        det_thresh=meta["det_score_thresh"],
        track_thresh=meta["track_score_thresh"],
        result_thresh=meta["result_score_thresh"],
        miss_tolerance=meta["miss_tolerance"],
        min_area=meta["min_area"],
        precision="32",
    )
    rows = []
    for t, (h, w) in enumerate(meta["frame_sizes_hw"]):
        images = golden_frame(f"frame{t}", (h, w), meta["seed"], device)
        with torch.inference_mode():
            check_outputs(fixture, t, tracker.model(images, [tracker.tracks], aux=True)[0])
        reported = tracker.step(images, h * meta["original_scale"], w * meta["original_scale"])
        check_tracks(fixture, t, tracker.tracks)
        x1, y1, x2, y2 = reported.boxes.astype(np.float64).T
        numbers = np.full(len(reported), reported.frame + 1)
        rows += np.stack([numbers, reported.ids, x1, y1, x2 - x1, y2 - y1], axis=1).tolist()
    rows, expected = np.array(rows), fixture.arrays["result_rows"]
    assert np.array_equal(rows[:, :2], expected[:, :2]), "frames and ids of the result rows"
    side = meta["original_scale"] * max(max(size) for size in meta["frame_sizes_hw"])
    assert np.abs(rows[:, 2:] - expected[:, 2:]).max() <= UNIT * side, "boxes of the result rows"


def check_preprocess(fixture, device):
    for h, w in fixture.meta["sizes_hw"]:
        rng = np.random.Generator(np.random.PCG64(fixture.meta["seed"] + h * 10000 + w))
        pixels = preprocess(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))
        assert list(pixels.shape) == fixture[f"{h}x{w}.shape"].tolist()
        assert_close(pixels[:, ::37, ::41], fixture[f"{h}x{w}.sample"], UNIT, f"{h}x{w}")


def golden_clip(meta, fixture):
    """The clip batch of a fixture, frame by frame."""
    frames, targets = [], []
    for t in range(meta["num_frames"]):
        sizes = enumerate(meta["clip_sizes_hw"])
        images = [torch.from_numpy(golden.tensor(f"clip{b}.frame{t}", (3, *hw), meta["seed"])) for b, hw in sizes]
        frames.append(ImageBatch.from_images(images))
        names = [f"gt.{b}.{t}" for b in range(len(images))]
        targets.append(
            [FrameTargets(*(fixture[f"{n}.{field}"] for field in ("ids", "labels", "boxes"))) for n in names]
        )
    return ClipBatch(frames, targets)


def check_clip(fixture, device):
    pytest.importorskip("scipy", reason="training needs the extra [train]")
    from memotr.training.clip_runner import ClipRunner

    for frames_at_once in (1, fixture.meta["num_frames"]):
        check_clip_encoded(fixture, device, frames_at_once, ClipRunner)


def check_clip_encoded(fixture, device, frames_at_once, runner_class):
    """With so many frames encoded as one batch."""
    meta = fixture.meta
    weights, costs = meta["loss_weights"], meta["match_costs"]
    runner = runner_class(
        model_of(fixture, device).train(),
        LossConfig(
            label=weights["focal"],
            l1=weights["l1"],
            giou=weights["giou"],
            aux=meta["config"]["AUX_LOSS_WEIGHT"],
            match_label=costs["class"],
            match_l1=costs["l1"],
            match_giou=costs["giou"],
        ),
        drop_rate=meta["tp_drop_rate"],
        insert_rate=meta["fp_insert_rate"],
        frames_at_once=frames_at_once,
    ).to(device)
    result = runner(golden_clip(meta, fixture).to(device))
    for t, states in enumerate(result.tracks):
        for b, state in enumerate(states):
            assert state.ids.tolist() == fixture[f"{t}.{b}.next_track_ids"].tolist(), f"frame {t}, clip {b}: ids"
    losses = result.named()
    assert losses.pop("identity_loss") == 0, "not in the paper"
    for name, value in losses.items():
        assert value == pytest.approx(fixture[f"loss.{name}"].item(), rel=1e-3), name
    result.total.backward()
    parameters = published(runner.model.named_parameters())
    for name, norm in zip(fixture.arrays["grad_names"], fixture.arrays["grad_norms"], strict=True):
        grad = parameters[name].grad
        assert grad.norm().item() == pytest.approx(norm, rel=1e-2, abs=1e-6), f"gradient of {name}"


KINDS = {
    "msda": check_msda,
    "frame": check_frame,
    "sequence": check_sequence,
    "preprocess": check_preprocess,
    "clip": check_clip,
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npz")), ids=lambda path: path.stem)
def test_fixture(path, device, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    fixture = Fixture(path)
    kind = fixture.meta["kind"]
    assert kind in KINDS, f"{path.name} is of unknown kind {kind!r}"
    if kind == "preprocess" and device != "cpu":
        pytest.skip("frames are prepared on the host")
    KINDS[kind](fixture, device)


def test_there_are_fixtures():
    assert list(FOLDER.glob("*.npz")), f"no fixtures in {FOLDER}"


def test_nothing_is_passed_over():
    """Every file of numbers has a form that some test looks for."""
    tested = {*FOLDER.glob("*.npz"), *FOLDER.glob("manifest_*.json")}
    others = {file.name for file in FOLDER.rglob("*") if file.is_file() and file.suffix not in (".md", ".py", ".pyc")}
    assert others == {file.name for file in tested}
