"""Start, continuation and end of tracks, shared by inference and training."""

from __future__ import annotations

import torch

from memotr.boxes import inverse_sigmoid
from memotr.structures import Assignment, FrameOutput, TrackState


def advance(tracks: TrackState, output: FrameOutput, choice: Assignment) -> TrackState:
    """Apply a decision and return the tracks after the frame: continued tracks, then new ones in the order of births.

    Args:
        tracks: the N tracks before the frame.
        output: output of the model for the frame, one batch element (``output[b]``).
        choice: the decision, by scores (gate) or by ground truth (matching).
    """
    stayed = carry_on(tracks, output, choice)
    if choice.track_keep is not None:
        stayed = stayed[choice.track_keep]
    return TrackState.cat([stayed, give_birth(output, choice, tracks.seen_boxes.shape[1])])


def fill_slots(
    tracks: TrackState, output: FrameOutput, choice: Assignment
) -> tuple[TrackState, torch.Tensor, torch.Tensor]:
    """Apply a decision with fixed shapes: in S slots, continued tracks come first, then new tracks, then vacant slots.

    Args:
        tracks: S slots.
        output: output of the network for the frame, one batch element.
        choice: the decision of :func:`memotr.tracking.gate.gate`; births that start no track have the id -1.

    Returns:
        The S slots; a mask (S,) of the vacant ones; and the number of tracks (), of which those beyond S are dropped.
    """
    assert choice.track_keep is not None
    kept = torch.cat((choice.track_keep, choice.birth_ids >= 0))  # (S + Nd,)
    order = torch.argsort(~kept, stable=True)[: len(tracks)]  # (S,)
    old, new = carry_on(tracks, output, choice), give_birth(output, choice, tracks.seen_boxes.shape[1])
    return TrackState.cat([old, new])[order], ~kept[order], kept.sum()


def carry_on(tracks: TrackState, output: FrameOutput, choice: Assignment) -> TrackState:
    """Return all N tracks with the predictions of this frame, including tracks that end."""
    n = output.num_detections
    boxes = output.boxes[n:]
    return tracks.replace(
        ids=choice.track_ids,
        logits=output.logits[n:],
        boxes=boxes,
        output_embed=output.output_embed[n:],
        disappear_time=choice.disappear_time,
        seen_boxes=_remember(tracks, boxes.detach(), choice.disappear_time == 0),
    )


def _remember(tracks: TrackState, boxes: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return the boxes (N, H, 4) of the last consecutive frames in which each track was seen; a gap clears them.

    Args:
        tracks: the N tracks before the frame.
        boxes: (N, 4) boxes of this frame.
        seen: (N,) mask of the tracks that are seen in this frame.
    """
    history = tracks.seen_boxes
    if history.shape[1] == 0:
        return history
    returned = (tracks.disappear_time > 0)[:, None, None]
    unbroken = history.masked_fill(returned, torch.nan)
    longer = torch.cat((unbroken[:, 1:], boxes[:, None]), dim=1)  # (N, H, 4)
    return torch.where(seen[:, None, None], longer, history)


def give_birth(output: FrameOutput, choice: Assignment, history: int) -> TrackState:
    """Return the M new tracks. Each can store ``history`` (H) seen boxes, of which the newest is this frame's."""
    q = choice.births
    output_embed, query_embed, boxes = output.output_embed[q], output.query_embed[q], output.boxes[q]
    fresh = choice.birth_from_initial[:, None]
    if history:
        unknown = boxes.new_full((len(q), history - 1, 4), torch.nan)
        seen_boxes = torch.cat((unknown, boxes.detach()[:, None]), dim=1)  # (M, H, 4)
    else:
        seen_boxes = boxes.new_zeros(len(q), 0, 4)
    return TrackState(
        ids=choice.birth_ids,
        labels=choice.birth_labels,
        logits=output.logits[q],
        boxes=boxes,
        ref_pts=torch.where(fresh, output.init_ref_pts[q], output.ref_pts[q]),
        query_embed=query_embed,
        output_embed=output_embed,
        last_output=output_embed,
        long_memory=query_embed[:, -output_embed.shape[1] :],  # the content half
        disappear_time=torch.zeros_like(choice.birth_ids),
        seen_boxes=seen_boxes,
    )


def extrapolate(tracks: TrackState, min_length: int, weight: float) -> TrackState:
    """Move the reference points of unseen tracks by the mean step of their last seen boxes.

    Args:
        tracks: N tracks that remember up to H seen boxes.
        min_length: number of consecutive seen frames below which a track is not moved.
        weight: fraction of the mean step by which a track moves per unseen frame.
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
