"""Ground truth of a clip batch as tensors of fixed shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memotr.structures import FrameTargets


@dataclass(frozen=True, eq=False)
class PaddedTargets:
    """Ground truth of one frame of B videos, padded to the same number G of objects, at least one.

    Attributes:
        ids: B arrays (G_b,) of ids of the objects, on the host, without padding.
        labels: (B, G) int64 class indices, 0 in padding.
        boxes: (B, G, 4) cxcywh in [0, 1], 0 in padding.
    """

    ids: list[NDArray[np.int64]]
    labels: Tensor
    boxes: Tensor

    @property
    def counts(self) -> list[int]:
        """Number of objects in each video."""
        return [len(ids) for ids in self.ids]


def pad_targets(frames: Sequence[Sequence[FrameTargets]], device: torch.device) -> list[PaddedTargets]:
    """Return the padded ground truth of T frames of B videos, without waiting for the device."""
    every = [targets for frame in frames for targets in frame]
    largest = max(1, *(len(targets) for targets in every))
    ends = np.cumsum([len(targets) for targets in every])
    column = np.arange(largest)
    counts = np.array([len(targets) for targets in every])[:, None]  # (T*B, 1)
    # Index into the concatenated ground truth of all frames; padding takes the row of zeros that is appended below.
    rows = np.where(column < counts, ends[:, None] - counts + column, ends[-1]).reshape(len(frames), -1, largest)
    index = upload(rows, device)  # (T, B, G)
    labels = torch.cat([*(targets.labels for targets in every), torch.zeros(1, dtype=torch.int64, device=device)])
    boxes = torch.cat([*(targets.boxes for targets in every), torch.zeros(1, 4, device=device)])
    return [
        PaddedTargets([targets.ids.numpy(force=True) for targets in frame], of_labels, of_boxes)
        for frame, of_labels, of_boxes in zip(frames, labels[index], boxes[index], strict=True)
    ]


def upload(array: NDArray[np.int64] | NDArray[np.bool_], device: torch.device) -> Tensor:
    """Copy integers or booleans to the device, without waiting for the copy to end."""
    dtype = torch.bool if array.dtype == np.bool_ else torch.int64
    host = torch.empty(array.shape, dtype=dtype, pin_memory=device.type == "cuda")
    host.numpy()[...] = array
    return host.to(device, non_blocking=True)
