"""Linear motion of unseen tracks: an optional extra of the published code, off in all its results."""

from __future__ import annotations

import torch

from memotr.boxes import inverse_sigmoid
from memotr.structures import TrackState


def extrapolate(tracks: TrackState, min_length: int, weight: float) -> TrackState:
    """Move the reference points of unseen tracks on along the mean step of their last seen boxes.

    Args:
        tracks: N tracks that remember up to H seen boxes.
        min_length: seen frames in a row without which a track stays where it is.
        weight: share of the mean step that is trusted, for every frame missed.
    """
    boxes = tracks.seen_boxes  # (N, H, 4)
    count = (~boxes[..., 0].isnan()).sum(dim=1)  # (N,)
    last = boxes[:, -1]  # (N, 4)
    oldest = (boxes.shape[1] - count).clamp(max=boxes.shape[1] - 1)  # (N,)
    first = boxes[torch.arange(len(boxes), device=boxes.device), oldest]  # (N, 4)
    step = (last - first) / (count - 1).clamp(min=1)[:, None]  # (N, 4) mean over the steps between seen frames
    moved = inverse_sigmoid(last + weight * step * tracks.disappear_time[:, None])
    unseen = (tracks.disappear_time > 0) & (count >= min_length)
    return tracks.replace(ref_pts=torch.where(unseen[:, None], moved, tracks.ref_pts))
