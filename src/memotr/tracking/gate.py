"""The decider of inference: scores say which tracks are still seen and which detections are new (section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from memotr.structures import Assignment, FrameOutput, TrackState


def gate(
    output: FrameOutput,
    tracks: TrackState,
    *,
    det_thresh: float | Tensor,
    track_thresh: float | Tensor,
    miss_tolerance: int | Tensor,
    next_id: int | Tensor,
    max_tracks: int | None = None,
) -> Assignment:
    """Decide by scores, for one video. The numbers may be tensors without dimensions: inputs of a graph.

    Args:
        output: what the model said of the frame, one batch element.
        tracks: the N tracks that it was looked at with.
        det_thresh: a detection query whose best class scores at least this is a new track.
        track_thresh: a track is unseen in a frame where its own class scores less.
        miss_tolerance: frames in a row after which an unseen track ends.
        next_id: id of the first birth; the others count on in query order.
        max_tracks: most tracks after the frame: the best scores are born where there is no room for all. None: any.
    """
    missed, best_score, best_class = judge(output, tracks, track_thresh)
    stays = missed < miss_tolerance
    born = within(max_tracks, best_score >= det_thresh, best_score, stays)
    births = born.nonzero()[:, 0]  # (M,)
    return Assignment(
        track_ids=torch.where(stays, tracks.ids, -1),
        track_keep=stays,
        disappear_time=missed,
        track_iou=tracks.iou,
        births=births,
        birth_ids=next_id + torch.arange(len(births), device=births.device),
        birth_labels=best_class[births],
        birth_iou=best_score.new_zeros(len(births)),
        birth_from_initial=torch.zeros_like(births, dtype=torch.bool),
    )


def within(max_tracks: int | None, born: Tensor, score: Tensor, stays: Tensor) -> Tensor:
    """Return which detections (Nd,) are born where tracks are limited: those with the best scores.

    Args:
        max_tracks: most tracks that there may be; None: no limit.
        born: (Nd,) detections that are to be born.
        score: (Nd,)
        stays: (N,) tracks that go on.
    """
    if max_tracks is None or len(stays) + len(born) <= max_tracks:  # from shapes: the device is not waited for
        return born
    rank = torch.where(born, score, -1).argsort(descending=True, stable=True).argsort()  # (Nd,)
    return born & (rank < max_tracks - stays.sum())


def judge(output: FrameOutput, tracks: TrackState, track_thresh: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames in a row in which each track is unseen by now (N,); score and class of each detection (Nd,) twice."""
    n = output.num_detections
    own_score = output.logits[n:].sigmoid().gather(1, tracks.labels[:, None])[:, 0]  # (N,)
    missed = torch.where(own_score < track_thresh, tracks.disappear_time + 1, 0)  # (N,)
    best_score, best_class = output.logits[:n].sigmoid().max(dim=1)
    return missed, best_score, best_class
