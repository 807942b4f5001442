"""Matching of queries with ground truth (after MOTR). In training it replaces the decisions by score of inference.

The device computes matching costs and IoUs of all videos at once, and the host reads them once per frame. Everything
else is decided on the host, in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from memotr.boxes import paired_iou
from memotr.config import LossConfig
from memotr.structures import FrameOutput
from memotr.training.targets import PaddedTargets

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Predictions:
    """The parts of the predictions for one frame of one video that decisions depend on, on the host.

    Attributes:
        costs: (Ld, Nd, G) matching cost of every detection query and every object, for every layer.
        ious: (2, Q, G) IoU of every box with every object, for the last layer of D_det and the last layer of D_joint.
        scores: (Q,) best class probability in the last layer.
        boxes: (Q, 4) cxcywh in the last layer.
    """

    costs: Floats
    ious: Floats
    scores: Floats
    boxes: Floats

    @property
    def num_detections(self) -> int:
        """Nd, the number of detection queries, which come first."""
        return int(self.costs.shape[1])


@dataclass(frozen=True, eq=False)
class Matching:
    """Ground-truth object of every query of one frame of one video.

    Attributes:
        targets: (Ld, Q) index of the object of each query, for every decoder layer; -1: background.
        iou: (Q,) IoU of the last layer's box with its object; 0 for background.
    """

    targets: Ints
    iou: Floats


@dataclass(frozen=True, eq=False)
class Choice:
    """Decision for one video: which tracks continue, and which detections start tracks.

    Attributes:
        track_ids: (N,) id of every track after this frame.
        track_iou: (N,) IoU of every track with its object in the last frame in which it was matched.
        track_keep: (N,) True for tracks that continue.
        births: (M,) indices of the detection queries that start tracks, in the order of the new tracks.
        birth_ids: (M,) ids of the new tracks.
        birth_iou: (M,) IoU with the matched object, or 0.
        birth_targets: (M,) index of the matched object; -1: a false positive, which starts from the initial reference
            points of its query.
    """

    track_ids: Ints
    track_iou: Floats
    track_keep: Bools
    births: Ints
    birth_ids: Ints
    birth_iou: Floats
    birth_targets: Ints

    @property
    def next_ids(self) -> Ints:
        """Ids of the tracks after the frame: those that continue, then the births."""
        return np.concatenate((self.track_ids[self.track_keep], self.birth_ids))

    @property
    def next_iou(self) -> Floats:
        """IoUs of these tracks with the objects that they were last matched to."""
        return np.concatenate((self.track_iou[self.track_keep], self.birth_iou))


@torch.no_grad()
def read_predictions(
    output: FrameOutput, targets: PaddedTargets, merge_layer: int, weights: LossConfig
) -> list[Predictions]:
    """Copy what decisions depend on from the device, for each of B videos: the only wait for the device.

    Args:
        output: output for B videos in training mode.
        targets: ground truth of the frame.
        merge_layer: number of layers that only detection queries enter.
        weights: settings with the weights ``match_…`` of the three parts of the matching cost.
    """
    n, every = output.num_detections, output.layers
    assert every is not None
    boxes = every.boxes.float()  # (Ld, B, Q, 4)
    p = every.logits.float().sigmoid()  # (Ld, B, Q, K)
    positive = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log()
    negative = 0.75 * p**2 * -(1 - p + 1e-8).log()
    index = targets.labels[:, None].expand(*p.shape[:3], -1)  # (Ld, B, Q, G)
    label = (positive - negative).gather(-1, index)
    l1 = torch.cdist(boxes, targets.boxes, p=1)
    iou, giou = paired_iou(boxes[..., None, :], targets.boxes[:, None])
    cost = weights.match_label * label + weights.match_l1 * l1 - weights.match_giou * giou  # (Ld, B, Q, G)
    # Diverged predictions must not stop the matching. Their loss is not finite, so the step is skipped.
    cost = cost[:, :, :n].nan_to_num(nan=1e4, posinf=1e4, neginf=-1e4)
    ious = torch.stack((iou[max(merge_layer - 1, 0)], iou[-1]))  # (2, B, Q, G)
    parts = cost, ious, p[-1].amax(dim=-1), boxes[-1]
    costs, overlaps, scores, last = _read(parts)
    return [
        Predictions(costs[:, b, :, :g], overlaps[:, b, : n + t, :g], scores[b, : n + t], last[b, : n + t])
        for b, (g, t) in enumerate(zip(targets.counts, output.num_tracks, strict=True))
    ]


def _read(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Copy float32 tensors to the host in one transfer."""
    copied = torch.cat([tensor.flatten() for tensor in tensors]).cpu().numpy()
    ends = np.cumsum([tensor.numel() for tensor in tensors])[:-1]
    return [part.reshape(tensor.shape) for part, tensor in zip(np.split(copied, ends), tensors, strict=True)]


def match(predictions: Predictions, track_ids: Ints, target_ids: Ints, merge_layer: int) -> Matching:
    """Match the queries of one frame of one video with objects, for every layer.

    Tracks keep their objects. The Hungarian method matches detection queries with the objects that have no track. In
    the layers of D_det, which see no tracks, it matches them with all objects, and tracks count as background.

    Args:
        predictions: predictions for the frame.
        track_ids: (N,) ids of the tracks before the frame.
        target_ids: (G,) ids of the objects in the frame.
        merge_layer: number of layers that only detection queries enter.
    """
    costs, n = predictions.costs, predictions.num_detections
    of_tracks = index_of_ids(track_ids, target_ids)  # (N,)
    everything = np.arange(len(target_ids))
    untracked = np.setdiff1d(everything, of_tracks)
    matched = np.full((len(costs), n + len(track_ids)), -1)
    for i, cost in enumerate(costs):
        merged = i >= merge_layer or i == len(costs) - 1
        columns = untracked if merged else everything
        queries, objects = linear_sum_assignment(cost[:, columns])
        matched[i, queries] = columns[objects]
        if merged:
            matched[i, n:] = of_tracks
    iou = np.zeros(matched.shape[1], np.float32)
    found = np.flatnonzero(matched[-1] >= 0)
    iou[found] = predictions.ious[1, found, matched[-1, found]]
    return Matching(matched, iou)


def index_of_ids(ids: Ints, known: Ints) -> Ints:
    """Return the index (N,) of each id (N,) among the known ids (G,); -1 for unknown and negative ids."""
    order = np.argsort(known)
    if len(known) == 0:
        return np.full(len(ids), -1)
    place = order[np.searchsorted(known, ids, sorter=order).clip(max=len(known) - 1)]
    return np.where((known[place] == ids) & (ids >= 0), place, -1)


def assign(
    predictions: Predictions, matching: Matching, track_ids: Ints, track_iou: Floats, target_ids: Ints, keep: float
) -> Choice:
    """Decide by ground truth which tracks continue and which detections start tracks.

    Tracks with an id continue, and so do false positives with a score above ``keep``. Matched detections start tracks
    with the id of their object; unmatched ones with a score above ``keep`` start false positives, from their initial
    reference points. A track whose IoU with its object is below 0.5 loses its id: it continues as a false positive, and
    the object must be detected again.

    Args:
        predictions: of the frame.
        matching: matched objects of the queries.
        track_ids: (N,) ids of the tracks before the frame.
        track_iou: (N,) their IoU with the object that they were last matched to.
        target_ids: (G,) ids of the objects in the frame.
        keep: score above which false positives continue.
    """
    n = predictions.num_detections
    likely = predictions.scores > keep  # (Q,)
    of_detections, of_tracks = matching.targets[-1, :n], matching.targets[-1, n:]
    # A track whose object is not in the frame keeps its IoU, and so its id.
    track_iou = np.where(of_tracks >= 0, matching.iou[n:], track_iou)
    found, false = np.flatnonzero(of_detections >= 0), np.flatnonzero((of_detections < 0) & likely[:n])
    births = np.concatenate((found, false))
    birth_iou = matching.iou[births]
    birth_ids = np.concatenate((target_ids[of_detections[found]], np.full(len(false), -1)))
    return Choice(
        track_ids=np.where(track_iou < 0.5, -1, track_ids),
        track_iou=track_iou,
        track_keep=(track_ids >= 0) | likely[n:],
        births=births,
        birth_ids=np.where(birth_iou < 0.5, -1, birth_ids),
        birth_iou=birth_iou,
        birth_targets=of_detections[births],
    )
