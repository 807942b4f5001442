"""Matching of queries with ground truth, which decides for training what scores decide for inference (after MOTR)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from memotr.boxes import cxcywh_to_xyxy, generalized_box_iou, paired_iou
from memotr.config import LossConfig
from memotr.structures import Assignment, FrameOutput, FrameTargets, LayerOutput, TrackState


@dataclass(frozen=True, eq=False)
class Matching:
    """Ground-truth object of every query of one frame of one video.

    Attributes:
        targets: (Ld, Q) int64, for every decoder layer (the last one last) the index of each query's ground truth box;
            -1 is background.
        iou: (Q,) overlap of the last layer's box with its ground truth; 0 on background.
        num_detections: Nd, the first queries.
    """

    targets: Tensor
    iou: Tensor
    num_detections: int

    @property
    def of_detections(self) -> Tensor:
        """Ground-truth index (Nd,) of each detection query in the last layer, or -1."""
        return self.targets[-1, : self.num_detections]

    @property
    def of_tracks(self) -> Tensor:
        """Ground-truth index (N,) of each track, or -1 if its object is not in the frame."""
        return self.targets[-1, self.num_detections :]


@torch.no_grad()
def match(
    output: FrameOutput, tracks: TrackState, targets: FrameTargets, merge_layer: int, weights: LossConfig
) -> Matching:
    """Match the queries of one frame, in every layer.

    Tracks keep their object. Detection queries share the objects that no track carries among them, by the Hungarian
    method; in layers before the merge, which see no tracks, they share all objects and the tracks count as background.

    Args:
        output: one batch element, with ``aux`` outputs.
        tracks: the N tracks that the frame was looked at with.
        targets: its ground truth.
        merge_layer: number of layers that only detection queries enter.
        weights: weights of the three parts of the matching cost, ``match_…``.
    """
    n, device = output.num_detections, output.logits.device
    ids = torch.cat((tracks.ids, targets.ids)).cpu().numpy()
    of_tracks = index_of_ids(ids[: len(tracks)], ids[len(tracks) :])  # (N,)
    everything = np.arange(len(targets))
    untracked = np.setdiff1d(everything, of_tracks)
    layers: list[LayerOutput | FrameOutput] = [*output.aux, output]
    cost = _detection_costs(layers, n, targets, weights)  # (Ld, Nd, G)
    matched = np.full((len(layers), n + len(tracks)), -1)
    for i in range(len(layers)):
        merged = i >= merge_layer or i == len(layers) - 1
        columns = untracked if merged else everything
        queries, objects = linear_sum_assignment(cost[i][:, columns])
        matched[i, queries] = columns[objects]
        if merged:
            matched[i, n:] = of_tracks
    indices = torch.from_numpy(matched).to(device)
    return Matching(indices, _matched_iou(output.boxes, targets.boxes, indices[-1]), n)


def index_of_ids(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each id (N,) among the known ids (G,), -1 for unknown ids."""
    order = np.argsort(known)
    if len(known) == 0:
        return np.full(len(ids), -1)
    place = order[np.searchsorted(known, ids, sorter=order).clip(max=len(known) - 1)]
    return np.where((known[place] == ids) & (ids >= 0), place, -1)


def assign(
    output: FrameOutput, tracks: TrackState, matching: Matching, targets: FrameTargets, keep: float
) -> Assignment:
    """Decide by ground truth which tracks continue and which detections start tracks.

    Tracks that carry an object stay, and so do false positives that score more than ``keep``. Matched detections are
    born with their object's id; unmatched ones that score more than ``keep`` are carried on as false positives, from
    their initial reference. Whatever overlaps its object by less than one half loses its id: it goes on as a negative,
    and the object must be detected again.
    """
    n = output.num_detections
    likely = output.logits.detach().sigmoid().amax(dim=1) > keep  # (Q,)
    # a track whose object is not in the frame keeps the overlap it had, and so its id
    track_iou = torch.where(matching.of_tracks >= 0, matching.iou[n:], tracks.iou)
    of_detections = matching.of_detections
    found = (of_detections >= 0).nonzero()[:, 0]
    false = ((of_detections < 0) & likely[:n]).nonzero()[:, 0]
    births = torch.cat((found, false))
    birth_ids = torch.cat((targets.ids[of_detections[found]], false.new_full((len(false),), -1)))
    birth_labels = torch.cat((targets.labels[of_detections[found]], output.logits[false].argmax(dim=1)))
    birth_iou = matching.iou[births]
    return Assignment(
        track_ids=torch.where(track_iou < 0.5, -1, tracks.ids),
        track_keep=(tracks.ids >= 0) | likely[n:],
        disappear_time=torch.zeros_like(tracks.ids),
        track_iou=track_iou,
        births=births,
        birth_ids=torch.where(birth_iou < 0.5, -1, birth_ids),
        birth_labels=birth_labels,
        birth_iou=birth_iou,
        birth_from_initial=of_detections[births] < 0,
    )


def _detection_costs(
    layers: list[LayerOutput | FrameOutput], n: int, targets: FrameTargets, weights: LossConfig
) -> NDArray[np.float32]:
    """Return the costs (Ld, Nd, G) of matching each detection query with each object, with one copy to the host."""
    logits = torch.stack([layer.logits[:n] for layer in layers]).float()  # (Ld, Nd, K)
    boxes = torch.stack([layer.boxes[:n] for layer in layers]).float()  # (Ld, Nd, 4)
    p = logits.sigmoid()[..., targets.labels]  # (Ld, Nd, G)
    positive = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log()
    negative = 0.75 * p**2 * -(1 - p + 1e-8).log()
    l1 = torch.cdist(boxes.flatten(0, 1), targets.boxes, p=1).view_as(p)
    giou = generalized_box_iou(cxcywh_to_xyxy(boxes.flatten(0, 1)), cxcywh_to_xyxy(targets.boxes)).view_as(p)
    total = weights.match_label * (positive - negative) + weights.match_l1 * l1 - weights.match_giou * giou
    # diverged predictions must not stop the matching: the loss is not finite then, and the step is skipped
    result: NDArray[np.float32] = total.nan_to_num(nan=1e4, posinf=1e4, neginf=-1e4).cpu().numpy()
    return result


def _matched_iou(boxes: Tensor, target_boxes: Tensor, matched: Tensor) -> Tensor:
    """Return the IoU (Q,) of every box with its ground truth, 0 on background."""
    if len(target_boxes) == 0:
        return boxes.new_zeros(len(matched), dtype=torch.float32)
    iou, _ = paired_iou(boxes.detach().float(), target_boxes[matched.clamp(min=0)])
    return torch.where(matched >= 0, iou, 0)
