import re
import warnings

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from memotr.data.preprocess import preprocess_on
from memotr.errors import UserError
from memotr.tracking.tracker import Tracker
from tests.builders import tiny_model


def frames(n, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return [np.roll(base, 3 * t, axis=1) for t in range(n)]


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("ids", "boxes", "scores", "labels"))


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_trackers_side_by_side_do_not_mix(variant):
    model = tiny_model(variant, classes=3)
    a, b = frames(5, seed=1), frames(5, seed=2)
    alone = [[tracker.update(f) for f in video] for video in (a, b) for tracker in [Tracker(model)]]
    one, two = Tracker(model), Tracker(model)
    together = [(one.update(f), two.update(g)) for f, g in zip(a, b, strict=True)]
    assert sum(len(t) for t in alone[0]) > 0
    assert all(same(x, y) for x, (y, _) in zip(alone[0], together, strict=True))
    assert all(same(x, y) for x, (_, y) in zip(alone[1], together, strict=True))


def test_reset_begins_a_new_video():
    tracker = Tracker(tiny_model())
    first = [tracker.update(f) for f in frames(3)]
    tracker.reset()
    again = [tracker.update(f) for f in frames(3)]
    assert all(same(x, y) and x.frame == y.frame for x, y in zip(first, again, strict=True))


def test_tensors_are_taken_too():
    frame = frames(1)[0]
    model = tiny_model()
    assert same(Tracker(model).update(frame), Tracker(model).update(torch.from_numpy(frame)))


def test_frames_may_be_prepared_ahead():
    tracker = Tracker(tiny_model(), min_area=0)
    wanted = [tracker.update(frame) for frame in frames(3)]
    prepared = [tracker.prepare(frame) for frame in frames(3)]
    tracker.reset()
    assert all(same(tracker.update(frame), expected) for frame, expected in zip(prepared, wanted, strict=True))


def test_the_device_may_preprocess(monkeypatch):
    model, (frame,), calls = tiny_model(), frames(1), []

    def on_the_device(device, *arguments):
        calls.append(device.type)
        return preprocess_on(device, *arguments)

    monkeypatch.setattr("memotr.tracking.tracker.preprocess_on", on_the_device)
    wanted = Tracker(model, min_area=0).update(frame)
    assert not calls, "not by default on a CPU"
    assert same(Tracker(model, min_area=0, preprocess_on_device=True).update(frame), wanted)
    assert calls == ["cpu"]


def test_thresholds_select_the_reported_tracks():
    model, video = tiny_model(), frames(4)
    everything = Tracker(model, det_thresh=0, track_thresh=0, result_thresh=0, min_area=0).update(video[0])
    assert len(everything) == model.num_queries
    assert len(Tracker(model, det_thresh=1).update(video[0])) == 0
    large = Tracker(model, det_thresh=0, result_thresh=0, min_area=200).update(video[0])
    width, height = (large.boxes[:, 2:] - large.boxes[:, :2]).T
    assert 0 < len(large) < model.num_queries
    assert (width * height > 200).all()


def test_state_does_not_grow_with_the_video():
    tracker = Tracker(tiny_model(), track_thresh=1, miss_tolerance=2)  # nothing is ever seen again
    born = [0]
    for t, f in enumerate(frames(12), start=1):
        tracker.update(f)
        born.append(tracker.next_id)
        assert len(tracker.tracks) == born[t] - born[max(0, t - 2)]
    assert born[-1] > 100


def test_motion_model_can_be_switched_on():
    model = tiny_model()
    motion = model.config.tracking.motion.model_copy(update={"enabled": True})
    tracking = model.config.tracking.model_copy(update={"motion": motion})
    model.config = model.config.model_copy(update={"tracking": tracking})
    tracker = Tracker(model, det_thresh=0.6, track_thresh=0.55)
    for f in frames(8):
        tracker.update(f)
    assert tracker.tracks.seen_boxes.shape[1:] == (5, 4)
    assert tracker.tracks.ref_pts.isfinite().all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_keeps_memory_in_float32(precision):
    video, model = frames(3), tiny_model()
    tracker = Tracker(model, precision=precision)
    for f in video:
        tracker.update(f)
    assert tracker.tracks.long_memory.dtype == torch.float32
    assert tracker.tracks.output_embed.dtype == torch.float32
    assert tracker.tracks.logits.dtype == torch.float32


@pytest.mark.parametrize("name", ["transformer.encoder.layers.0.linear1.weight", "class_embed.1.bias"])
def test_weights_beyond_half_precision_are_refused(name):
    """They would become infinite, and the tracker would find nothing."""
    model = tiny_model()
    model.get_parameter(name).data.view(-1)[0] = 1e5
    with pytest.raises(UserError, match=rf"{name} has values beyond the range of torch.float16; .* bf16 or 32"):
        Tracker(model, precision="fp16")
    for precision in ("bf16", "32"):
        assert Tracker(model, precision=precision).update(frames(1)[0]).boxes.shape[1] == 4


def test_a_misspelt_precision_is_refused():
    with pytest.raises(UserError, match="unknown precision 'bf61': choose from auto, 32, tf32, bf16, fp16"):
        Tracker(tiny_model(), precision="bf61")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 (4, 4); make a grey image coloured: np.stack([frame] * 3, axis=-1)"),
        (np.zeros((4, 4, 4), np.uint8), "uint8 (4, 4, 4); leave the opacity out: frame[..., :3]"),
        (np.zeros((3, 4, 5), np.uint8), "uint8 (3, 4, 5); put the colours last: frame.transpose(1, 2, 0)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "uint8 (2, 4, 4, 3); these are several frames: update() takes one"),
        (np.zeros((4, 4, 3), np.float32), "float32 (4, 4, 3); pixels count from 0 to 255"),
        (np.zeros((0, 4, 3), np.uint8), "uint8 (0, 4, 3)"),
        ([[[0, 0, 0]]], "list"),
        ("clip.mp4", "str; track(...) takes files and folders"),
        (None, "NoneType; OpenCV returns None at the end of a video"),
        (Image.new("RGB", (4, 4)), "Image; np.asarray(frame) makes an array of an image of Pillow"),
        (torch.zeros(4, 4, 3, dtype=torch.bfloat16), "Tensor of torch.bfloat16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_what_is_not_a_frame_is_refused(frame, words, channels):
    with pytest.raises(ValueError, match=re.escape(f"expected a frame (H, W, 3) of uint8, got {words}")):
        Tracker(tiny_model()).update(frame, channels)


def test_frames_as_opencv_has_them(tmp_path):
    model, video = tiny_model(), frames(3)
    one, other = Tracker(model, min_area=0), Tracker(model, min_area=0)
    expected = [one.update(frame) for frame in video]
    assert all(same(other.update(f[..., ::-1], channels="bgr"), e) for f, e in zip(video, expected, strict=True))
    other.reset()
    tensors = [torch.from_numpy(f[..., ::-1].copy()) for f in video]
    assert all(same(other.update(f, channels="bgr"), e) for f, e in zip(tensors, expected, strict=True))
    assert not same(expected[0], Tracker(model, min_area=0).update(video[0][..., ::-1]))
    with pytest.raises(UserError, match="no order of colours 'brg': take rgb, bgr"):
        other.update(video[0], channels="brg")
    with pytest.raises(ValueError, match=r"pass channels to prepare\(\)"):
        other.update(other.prepare(video[0]), channels="bgr")
    other.reset()
    assert same(other.update(other.prepare(video[0][..., ::-1], "bgr")), expected[0])


def test_frames_from_python_are_a_source(tmp_path):
    tracker, video = Tracker(tiny_model()), frames(5)
    expected = [tracker.update(f) for f in video]
    for source in (video, iter(video), np.stack(video)):
        found = list(tracker.track(source))
        assert all(same(x, y) for x, y in zip(found, expected, strict=True))
        assert [t.frame for t in found] == [0, 1, 2, 3, 4]
        assert [t.time for t in found] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
        assert all(np.array_equal(t.image, f) for t, f in zip(found, video, strict=True))
    swapped = list(tracker.track((f[..., ::-1] for f in video), channels="bgr"))
    assert all(same(x, y) for x, y in zip(swapped, expected, strict=True))
    assert np.array_equal(swapped[0].image, video[0])

    assert [t.time for t in tracker.track(video, fps=2)] == [0, 0.5, 1, 1.5, 2]

    for k, image in enumerate(video):
        cv2.imwrite(str(tmp_path / f"{k}.png"), image[..., ::-1])
    for source in (video, tmp_path):
        chosen = list(tracker.track(source, start=1, stride=2, max_frames=2))
        assert [t.frame for t in chosen] == [1, 3]
        assert [t.time for t in chosen] == pytest.approx([0.04, 0.12])
        assert np.array_equal(chosen[1].image, video[3])
        assert [t.time for t in tracker.track(source, fps=2, start=3)] == [1.5, 2]


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ([], UserError, "no frames; pass at least one"),
        ([None], ValueError, "expected a frame .* got NoneType; OpenCV returns None"),
        (np.zeros((4, 4, 3), np.uint8), ValueError, r"got one frame \(4, 4, 3\); update\(frame\) takes it"),
        (None, TypeError, "expected a file, folder, camera number or address, or frames, got NoneType"),
        (3.5, TypeError, "got float"),
    ],
)
def test_wrong_sources_are_refused(source, error, words):
    for channels in ("rgb", "bgr"):
        with pytest.raises(error, match=words):
            list(Tracker(tiny_model()).track(source, channels=channels))


def test_reported_tracks_exceed_the_thresholds():
    """A box of exactly ``min_area``, or with a score of exactly ``result_thresh``, is not reported."""
    tracker = Tracker(tiny_model(), min_area=256, result_thresh=0.5)
    prepared = tracker.prepare(np.zeros((64, 64, 3), np.uint8))
    pairs = [(0.25, 0.9), (0.26, 0.5), (0.26, 0.51), (0.24, 0.9)]  # height and score; the width is 16 pixels
    table = np.array([[0, 0, 0.25, height, score, k, 0] for k, (height, score) in enumerate(pairs)])
    found = tracker._report(table, prepared)
    assert found.ids.tolist() == [2]
    np.testing.assert_array_equal(found.boxes, np.array([[0, 0, 16, 64 * 0.26]], np.float32))


def test_as_many_tracks_as_allowed_are_reported_once_a_video():
    model = tiny_model()
    tracking = model.config.tracking.override({"max_tracks": 2})
    model.config = model.config.model_copy(update={"tracking": tracking})
    tracker = Tracker(model)
    prepared = tracker.prepare(np.zeros((64, 64, 3), np.uint8))
    table = np.array([[0, 0, 0.5, 0.5, 0.9, k, 0] for k in range(2)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for rows in (table[:1], table, table):
            tracker._report(rows, prepared)
        assert len(caught) == 1
        assert "2 tracks, the limit set by tracking.max_tracks" in str(caught[0].message)
        tracker.reset()
        tracker._report(table, prepared)
        assert len(caught) == 2
