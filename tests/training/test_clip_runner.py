from dataclasses import replace

import pytest
import torch

from memotr.config import LossConfig
from memotr.structures import ClipBatch, FrameOutput, FrameTargets, ImageBatch, LayerOutputs
from memotr.tracking.gate import gate
from memotr.tracking.lifecycle import advance
from memotr.training import clip_runner
from memotr.training.clip_runner import ClipRunner, VideoTracks, join_videos
from memotr.training.matching import assign, match, read_predictions
from memotr.training.targets import PaddedTargets, pad_targets
from tests.builders import random_images, tiny_model
from tests.training.builders import random_clip, targets_of

CLIPS = {
    "two frames": [[2], [2]],
    "one frame": [[2]],
    "nothing in one frame": [[0]],
    "nothing": [[0], [0]],
    "something appears": [[0], [2]],
    "something vanishes": [[2], [0]],
}
NETWORKS = {
    "usual": {},
    "one decoder layer": {"num_decoder_layers": 1, "merge_layer": 0},
    "detections alone": {"merge_layer": 2},
    "no encoder": {"num_encoder_layers": 0},
}


def clip_of(*ids_of_clips, num_classes=1, seed=0):
    """A batch of clips from lists of the ids in each of their frames."""
    frames, targets = [], []
    for t in range(len(ids_of_clips[0])):
        frames.append(random_images([(64, 96)] * len(ids_of_clips), seed=seed + t))
        targets.append([targets_of(clip[t], num_classes, seed=7 * b + t) for b, clip in enumerate(ids_of_clips)])
    return ClipBatch(frames, targets)


def part(clip, b):
    frames = [ImageBatch(f.pixels[b : b + 1], f.mask[b : b + 1]) for f in clip.frames]
    return ClipBatch(frames, [[t[b]] for t in clip.targets])


@pytest.fixture(params=["dab", "deformable-detr"])
def runner(request):
    return ClipRunner(tiny_model(request.param, classes=2, num_decoder_layers=3).train())


def test_clips_in_a_batch_are_independent(runner):
    clip = clip_of([[1, 2], [1, 2], [2]], [[5], [], [5, 6]], num_classes=2)
    both, one, two = (runner(c) for c in (clip, part(clip, 0), part(clip, 1)))
    weighted = (one.parts * 5 + two.parts * 3) / 8  # each is divided by its own number of boxes
    torch.testing.assert_close(both.parts, weighted, rtol=1e-4, atol=1e-5)
    for t in range(2):
        assert both.tracks[t][0].ids.tolist() == one.tracks[t][0].ids.tolist()
        assert both.tracks[t][1].ids.tolist() == two.tracks[t][0].ids.tolist()


def test_frames_without_gradient(runner):
    clip = clip_of([[1, 2], [1, 2], [1]], num_classes=2)
    full, last = runner(clip), runner(clip, no_grad_frames=2)
    torch.testing.assert_close(full.parts, last.parts)
    assert full.tracks[0][0].output_embed.requires_grad
    assert not last.tracks[1][0].output_embed.requires_grad
    last.total.backward()
    assert all(p.grad is not None for p in runner.model.class_embed.parameters())


def test_perturbed_clips_train_and_repeat(runner):
    clip = clip_of([[1, 2, 3, 4]] * 3, num_classes=2)
    with torch.no_grad():  # objects where the model sees some, so that it finds them
        seen = runner.model(clip.frames[0], [runner.model.no_tracks()])[0].boxes[[3, 9, 14, 20]]
    clip = ClipBatch([clip.frames[0]] * 3, [[FrameTargets(t.ids, t.labels, seen) for t in ts] for ts in clip.targets])
    runner.drop_rate, runner.insert_rate = 0.3, 0.7
    a, b, c = (runner(clip, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    carried = [[states[0].ids.tolist() for states in result.tracks] for result in (a, b, c)]
    assert a.total == b.total
    assert carried[0] == carried[1] != carried[2]
    assert -1 in carried[0][0]
    a.total.backward()


def test_auxiliary_weights_scale_the_losses_of_earlier_layers():
    clip = clip_of([[1, 2], [1]])

    def losses(*weights):
        return ClipRunner(tiny_model(num_decoder_layers=3), LossConfig(aux=weights))(clip)

    none, first, second, both = losses(0, 0), losses(1, 0), losses(0, 1), losses(0.5, 3)
    assert none.parts[3:6].tolist() == [0, 0, 0]
    assert (first.parts[3:6] > 0).all()
    torch.testing.assert_close(both.parts[3:6], 0.5 * first.parts[3:6] + 3 * second.parts[3:6])
    torch.testing.assert_close(
        both.total - none.total, 0.5 * (first.total - none.total) + 3 * (second.total - none.total)
    )


def test_auxiliary_weights_must_match_the_number_of_earlier_layers():
    with pytest.raises(ValueError, match="2 auxiliary loss weights for 2 decoder layers"):
        ClipRunner(tiny_model(), LossConfig(aux=(1.0, 1.0)))


@pytest.mark.parametrize("no_grad_frames", [0, 1])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_every_parameter_takes_part_in_every_clip(variant, network, no_grad_frames):
    """Data parallelism waits for each gradient: a rank whose clip leaves a parameter out would hang all others."""
    model = tiny_model(variant, **NETWORKS[network]).train()
    for name, objects in CLIPS.items():
        model.zero_grad()
        result = ClipRunner(model)(random_clip(objects), no_grad_frames)
        result.total.backward()
        missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing, f"{name}: {missing}"
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad), name


def test_frames_without_gradient_change_gradients_only():
    model = tiny_model().train()
    clip = random_clip([[2], [2], [1]])
    losses = [ClipRunner(model)(clip, n).total for n in (0, 2)]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)
    gradients = [torch.autograd.grad(loss, model.class_embed[-1].weight)[0] for loss in losses]
    assert not gradients[0].allclose(gradients[1])


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_frames_without_gradient_cache_no_cast_weights_in_mixed_precision(variant):
    """Autocast casts a weight once; a cast from a frame without gradient would cut all later frames off from it."""
    gradients = []
    for cache in (True, False):
        torch.manual_seed(0)
        model = tiny_model(variant).train()
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=cache):
            total = ClipRunner(model)(random_clip([[2], [2], [1]]), 2).total
        total.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    for name, expected in gradients[1].items():
        found = gradients[0][name]
        assert found is not None, name
        assert (found - expected).norm() <= 0.05 * expected.norm(), name


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_inference_with_perfect_scores_decides_as_training(variant):
    """After a training step: if every score were as the ground truth wants it, the gate would choose the same."""
    model = tiny_model(variant, classes=2).train()
    runner = ClipRunner(model)
    clip = clip_of([[1, 2, 3], [3, 1, 4]], num_classes=2)
    runner(clip).total.backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3).step()

    trained, inferred = VideoTracks.none(model), model.no_tracks()
    names = {}  # training's id of every id that inference gave
    for images, truth in zip(clip.frames, pad_targets(clip.targets, model.device), strict=True):
        output = model(images, [trained.tracks], aux=True)
        predictions = read_predictions(output, truth, 1, LossConfig())[0]
        wanted = torch.from_numpy(match(predictions, trained.ids, truth.ids[0], 1).targets[-1])
        perfect = _perfect(output, truth, wanted)
        predictions = read_predictions(perfect, truth, 1, LossConfig())[0]
        exact = match(predictions, trained.ids, truth.ids[0], 1)
        choice = assign(predictions, exact, trained.ids, trained.iou, truth.ids[0], keep=0.5)
        perfect, by_truth, _, _ = join_videos(perfect, [choice], truth)
        limits = {"det_thresh": 0.5, "track_thresh": 0.5, "miss_tolerance": 30, "next_id": len(names)}
        by_score = gate(perfect, inferred, **limits)

        assert by_score.births.tolist() == by_truth.births.tolist()
        names |= dict(zip(by_score.birth_ids.tolist(), by_truth.birth_ids.tolist(), strict=True))
        assert [names[i] for i in by_score.track_ids.tolist()] == by_truth.track_ids.tolist()
        assert by_score.birth_labels.tolist() == by_truth.birth_labels.tolist()
        inferred = model.memory(advance(inferred, perfect, by_score))
        renewed = model.memory(advance(trained.tracks, perfect, by_truth))
        trained = VideoTracks(renewed, choice.next_ids, choice.next_iou)
        for name in ("boxes", "ref_pts", "query_embed", "long_memory", "last_output", "labels"):
            assert getattr(renewed, name).equal(getattr(inferred, name)), name
        assert renewed.ids.tolist() == trained.ids.tolist()
    assert len(names) == 4


def _perfect(output: FrameOutput, truth: PaddedTargets, wanted: torch.Tensor) -> FrameOutput:
    """The output with the right score for every query, and the right box for those that should be an object."""
    found, objects = (wanted >= 0)[:, None], wanted.clamp(min=0)
    logits = torch.where(found & (torch.arange(2) == truth.labels[0, objects][:, None]), 10.0, -10.0)[None]
    boxes = torch.where(found, truth.boxes[0, objects], output.boxes[0])[None]
    layers = LayerOutputs(
        *(
            torch.cat((every[:-1], last[None]))
            for every, last in (
                (output.layers.logits, logits),
                (output.layers.boxes, boxes),
                (output.layers.output_embed, output.output_embed),
            )
        )
    )
    return replace(output, logits=logits, boxes=boxes, layers=layers)


@pytest.mark.parametrize("no_grad_frames", range(5))
def test_perturbation_begins_with_the_last_frame_without_gradient(runner, monkeypatch, no_grad_frames):
    rates = []

    def record(choice, _predictions, drop_rate, insert_rate, *_):
        rates.append((drop_rate, insert_rate))
        return choice

    monkeypatch.setattr(clip_runner, "perturb", record)
    runner.drop_rate, runner.insert_rate = 0.3, 0.7
    runner(clip_of([[1, 2]] * 4, num_classes=2), no_grad_frames, torch.Generator())
    undisturbed = max(0, min(no_grad_frames, 3) - 1)
    # nothing goes on from the last of the four frames
    assert rates == [(0.0, 0.0)] * undisturbed + [(0.3, 0.7)] * (3 - undisturbed)
