"""Decision by scores, at inference, which tracks continue and which detections start tracks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memotr.config import TrackingConfig
from memotr.data.sequences import list_names
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
    vacant: Tensor | None = None,
) -> Assignment:
    """Decide by scores which tracks of one video continue and which detections start tracks.

    Thresholds and ids may be tensors (), so that they can be inputs of an exported graph.

    Args:
        output: output of the model for the frame, one batch element.
        tracks: the N tracks before the frame.
        det_thresh: lowest score, in [0, 1], of a detection query's best class that starts a track.
        track_thresh: score, in [0, 1], of the track's class below which it counts as unseen.
        miss_tolerance: number of consecutive unseen frames after which a track ends.
        next_id: id of the first new track; the others get the next ids, in the order of their queries.
        max_tracks: maximum number of tracks after the frame; the births with the highest scores are kept. None: no
            limit.
        vacant: (N,) bool, True on rows that hold no track. The result then has fixed shapes: all Nd detections are
            listed as births, with id -1 if they start no track. None: every row holds a track.

    Returns:
        The decision for all N tracks, and for M births (Nd with ``vacant``).
    """
    missed, best_score, best_class = read_scores(output, tracks, track_thresh)
    stays = missed < miss_tolerance
    if vacant is not None:
        stays = stays & ~vacant
    born = limit_births(max_tracks, best_score >= det_thresh, best_score, stays)
    if vacant is None:
        births = born.nonzero()[:, 0]  # (M,)
        birth_ids = next_id + torch.arange(len(births), device=births.device)
    else:
        births = torch.arange(len(born), device=born.device)
        birth_ids = torch.where(born, next_id + born.cumsum(0) - 1, -1)
    return Assignment(
        track_ids=torch.where(stays, tracks.ids, -1),
        track_keep=stays,
        disappear_time=missed,
        births=births,
        birth_ids=birth_ids,
        birth_labels=best_class[births],
        birth_from_initial=torch.zeros_like(births, dtype=torch.bool),
    )


def limit_births(max_tracks: int | None, born: Tensor, score: Tensor, stays: Tensor) -> Tensor:
    """Return a mask (Nd,) of the detections that may start tracks; if too many, those with the highest scores.

    Args:
        max_tracks: maximum number of tracks; None: no limit.
        born: (Nd,) mask of the detections that would start tracks.
        score: (Nd,) their scores.
        stays: (N,) mask of the tracks that continue.
    """
    if max_tracks is None or len(stays) + len(born) <= max_tracks:  # shapes only: no wait for the device
        return born
    rank = torch.where(born, score, -1).argsort(descending=True, stable=True).argsort()  # (Nd,)
    return born & (rank < max_tracks - stays.sum())


def explain_no_tracks(classes: Sequence[str], settings: TrackingConfig) -> str:
    """Return an explanation for users why a tracker with these classes and settings may have reported no track."""
    return (
        f"nothing was tracked: no box above min_area ({settings.min_area:g}) reached det_thresh "
        f"({settings.det_thresh:g}) and exceeded result_thresh ({settings.result_thresh:g}); the model may not know "
        f"these objects (its classes: {list_names(classes)}) or need more training, or the thresholds are too high"
    )


def read_scores(output: FrameOutput, tracks: TrackState, track_thresh: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the unseen time of N tracks, and the best score and class of Nd detections.

    Returns:
        Number of consecutive frames in which each track has been unseen, this one included (N,) int64; highest class
        score of each detection (Nd,); and the index of that class (Nd,) int64.
    """
    n = output.num_detections
    own_score = output.logits[n:].sigmoid().gather(1, tracks.labels[:, None])[:, 0]  # (N,)
    missed = torch.where(own_score < track_thresh, tracks.disappear_time + 1, 0)  # (N,)
    best_score, best_class = output.logits[:n].sigmoid().max(dim=1)
    return missed, best_score, best_class
