"""Perturbation of tracks in training: dropped tracks and inserted false positives (after MOTR)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from memotr.training.matching import Choice, Predictions


def perturb(
    choice: Choice,
    predictions: Predictions,
    drop_rate: float,
    insert_rate: float,
    generator: torch.Generator,
    keep_strays: bool = False,
) -> Choice:
    """Drop tracks at random, and insert false positives that overlap the remaining ones.

    Only tracks and births with an object (id >= 0 and IoU above 0.5) continue, and each of them is dropped with
    probability ``drop_rate``. For each remaining one, with probability ``insert_rate``, the unmatched detection of the
    highest IoU with it is inserted as a false positive. If there are no more unmatched detections than that, all are
    inserted.

    Args:
        choice: decision without perturbation.
        predictions: predictions for the frame.
        drop_rate: probability of dropping a track, in [0, 1].
        insert_rate: probability of a false positive for a track, in [0, 1].
        generator: random generator, on the CPU.
        keep_strays: false positives continue, too, as they do without perturbation (not in the published code).
    """
    n, num_tracks = predictions.num_detections, len(choice.track_ids)
    ids = np.concatenate((choice.track_ids, choice.birth_ids))
    iou = np.concatenate((choice.track_iou, choice.birth_iou))
    good = (ids >= 0) & (iou > 0.5)
    good &= torch.rand(len(good), generator=generator).numpy() >= drop_rate
    inserting = good & (torch.rand(len(good), generator=generator).numpy() < insert_rate)
    boxes = np.concatenate((predictions.boxes[n:], predictions.boxes[choice.births]))  # (N + M, 4)
    matched = choice.births if keep_strays else choice.births[choice.birth_targets >= 0]
    false = _most_overlapping(boxes[inserting], predictions.boxes[:n], matched)
    if keep_strays:
        good |= (ids < 0) & np.concatenate((choice.track_keep, np.ones(len(choice.births), bool)))
    born = good[num_tracks:]
    return Choice(
        track_ids=choice.track_ids,
        track_iou=choice.track_iou,
        track_keep=good[:num_tracks],
        births=np.concatenate((choice.births[born], false)),
        birth_ids=np.concatenate((choice.birth_ids[born], np.full(len(false), -1))),
        birth_iou=np.concatenate((choice.birth_iou[born], np.zeros(len(false), np.float32))),
        birth_targets=np.concatenate((choice.birth_targets[born], np.full(len(false), -1))),
    )


def _most_overlapping(
    boxes: NDArray[np.float32], detections: NDArray[np.float32], matched: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the unmatched detection queries with the highest IoU with ``boxes`` (F, 4), each once; at most F."""
    candidates = np.setdiff1d(np.arange(len(detections)), matched)
    if len(boxes) == 0 or len(candidates) <= len(boxes):
        return candidates[: 0 if len(boxes) == 0 else None]
    low, high, area = _corners(detections[candidates, None])  # (C, 1, 2), (C, 1, 2), (C, 1)
    own_low, own_high, own_area = _corners(boxes)
    overlap = (np.minimum(high, own_high) - np.maximum(low, own_low)).clip(min=0).prod(axis=-1)  # (C, F)
    iou = overlap / np.maximum(area + own_area - overlap, np.finfo(np.float32).tiny)
    best: NDArray[np.int64] = np.unique(iou.argmax(axis=0))
    return candidates[best]


def _corners(boxes: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the top left and bottom right corners (..., 2) and areas (...) of cxcywh boxes (..., 4), in float32."""
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    return low, high, (high - low).prod(axis=-1)
