"""Value types exchanged by model, decision (gate or matching), lifecycle and losses.

Each type checks the lengths of its fields. Every length may be 0.

Shapes: B batch, Q queries (Nd detection queries, then the tracks), N tracks, M births, K classes, C hidden size.
Boxes are cxcywh in [0, 1] of the unpadded image; reference points are the same in logit space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _check_lengths(value: Any, names: Sequence[str], length: int) -> None:
    for name in names:
        field = getattr(value, name)
        if len(field) != length:
            raise ValueError(f"{type(value).__name__}.{name} has length {len(field)}, expected {length}")


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Normalised images, padded at the right and the bottom to one size.

    Attributes:
        pixels: (B, 3, H, W) float; 0 on padding.
        mask: (B, H, W) bool; True on padding.
        sizes: (h, w) of each image without padding, in agreement with the mask; None if unknown.
    """

    pixels: Tensor
    mask: Tensor
    sizes: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        pixels, mask = tuple(self.pixels.shape), tuple(self.mask.shape)
        if len(pixels) != 4 or pixels[1] != 3 or mask != (pixels[0], *pixels[2:]):
            raise ValueError(f"ImageBatch: expected pixels (B, 3, H, W) and mask (B, H, W), got {pixels} and {mask}")

    @classmethod
    def from_images(cls, images: Sequence[Tensor], stride: int = 32, smallest: int = 1) -> ImageBatch:
        """Pad images to a common size and stack them.

        Args:
            images: images (3, h, w), whose sizes may differ.
            stride: height and width of the batch are multiples of it.
            smallest: minimum height and width of the batch in pixels, before they are rounded up to a multiple.
        """
        height = max(smallest, *(image.shape[1] for image in images))
        width = max(smallest, *(image.shape[2] for image in images))
        height, width = (-(-side // stride) * stride for side in (height, width))
        pixels = images[0].new_zeros(len(images), 3, height, width)
        mask = torch.ones(len(images), height, width, dtype=torch.bool, device=pixels.device)
        for image, row, padding_mask in zip(images, pixels, mask, strict=True):
            row[:, : image.shape[1], : image.shape[2]] = image
            padding_mask[: image.shape[1], : image.shape[2]] = False
        return cls(pixels, mask, tuple((image.shape[1], image.shape[2]) for image in images))

    @classmethod
    def cat(cls, batches: Sequence[ImageBatch]) -> ImageBatch:
        """Join batches of one padded size."""
        if len(batches) == 1:
            return batches[0]
        sizes = [batch.sizes for batch in batches]
        return cls(
            torch.cat([batch.pixels for batch in batches]),
            torch.cat([batch.mask for batch in batches]),
            None if None in sizes else tuple(size for each in sizes if each is not None for size in each),
        )

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def padded(self) -> bool:
        """True if there may be padding, according to ``sizes``; the mask is not read."""
        return self.sizes is None or any(size != self.pixels.shape[2:] for size in self.sizes)

    def to(self, device: torch.device | str) -> ImageBatch:
        """Return the batch on another device; the copy is asynchronous from pinned memory."""
        pixels, mask = self.pixels.to(device, non_blocking=True), self.mask.to(device, non_blocking=True)
        return ImageBatch(pixels, mask, self.sizes)

    def pin_memory(self) -> ImageBatch:
        """Return the batch in page-locked memory, from which :meth:`to` copies to CUDA asynchronously."""
        return ImageBatch(self.pixels.pin_memory(), self.mask.pin_memory(), self.sizes)


@dataclass(frozen=True, eq=False)
class TrackState:
    """State of the N tracks of one video, with the paper's symbols in brackets (sections 3.1, 3.3 and 3.4).

    Attributes:
        ids: (N,) int64, from 0; -1: a false positive, which training continues as a negative example.
        labels: (N,) int64, class index at the start of the track.
        logits: (N, K) class logits of the last frame.
        boxes: (N, 4) boxes predicted in the last frame.
        ref_pts: (N, 4) reference points of the next frame, as logits.
        query_embed: [E_tck] (N, C) track embeddings, or (N, 2C) with the position half first (Deformable-DETR variant).
        output_embed: [O_tck^t] (N, C) decoder output of the last frame.
        last_output: [O_tck^(t−1)] (N, C) decoder output of the last confident frame: the short-term memory.
        long_memory: [M_tck] (N, C) running average of the decoder outputs: the long-term memory.
        disappear_time: (N,) int64, number of frames since the track was last seen.
        seen_boxes: (N, H, 4) boxes of the last H consecutive frames in which the track was seen, newest last, preceded
            by NaN if there are fewer; H = 0 without the motion model.
    """

    ids: Tensor
    labels: Tensor
    logits: Tensor
    boxes: Tensor
    ref_pts: Tensor
    query_embed: Tensor
    output_embed: Tensor
    last_output: Tensor
    long_memory: Tensor
    disappear_time: Tensor
    seen_boxes: Tensor

    def __post_init__(self) -> None:
        _check_lengths(self, [field.name for field in fields(self)], len(self.ids))

    @classmethod
    def empty(
        cls, num_classes: int, hidden_dim: int, query_dim: int, history: int = 0, device: torch.device | str = "cpu"
    ) -> TrackState:
        """Return a state without tracks.

        Args:
            num_classes: K.
            hidden_dim: C.
            query_dim: C, or 2C for the Deformable-DETR variant.
            history: H, number of seen boxes per track.
            device: device of the tensors.
        """

        def floats(*shape: int) -> Tensor:
            return torch.zeros(0, *shape, device=device)

        def integers() -> Tensor:
            return torch.zeros(0, dtype=torch.int64, device=device)

        return cls(
            ids=integers(),
            labels=integers(),
            logits=floats(num_classes),
            boxes=floats(4),
            ref_pts=floats(4),
            query_embed=floats(query_dim),
            output_embed=floats(hidden_dim),
            last_output=floats(hidden_dim),
            long_memory=floats(hidden_dim),
            disappear_time=integers(),
            seen_boxes=floats(history, 4),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Tensor | slice) -> TrackState:
        """Return selected tracks: boolean mask (N,), indices (M,) or slice."""
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            index = index.nonzero()[:, 0]  # once for all fields, because each call synchronises with CUDA
        return TrackState(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @property
    def scores(self) -> Tensor:
        """Class probabilities (N, K)."""
        return self.logits.sigmoid()

    def replace(self, **changes: Tensor) -> TrackState:
        """Return the same tracks with some fields replaced."""
        return replace(self, **changes)

    def to(self, device: torch.device | str) -> TrackState:
        """Return the tracks on another device."""
        return TrackState(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def split(self, counts: Sequence[int]) -> list[TrackState]:
        """Undo :meth:`cat` of states of these lengths."""
        parts = [getattr(self, field.name).split(list(counts)) for field in fields(self)]
        return [TrackState(*part) for part in zip(*parts, strict=True)]

    @staticmethod
    def cat(states: Sequence[TrackState]) -> TrackState:
        """Concatenate the tracks of several states, in order."""
        if len(states) == 1:
            return states[0]
        return TrackState(
            **{field.name: torch.cat([getattr(state, field.name) for state in states]) for field in fields(states[0])}
        )


@dataclass(frozen=True, eq=False)
class LayerOutputs:
    """Predictions of all Ld decoder layers, the last one last.

    Attributes:
        logits: (Ld, B, Q, K) class logits.
        boxes: (Ld, B, Q, 4).
        output_embed: (Ld, B, Q, C) output of each layer.
    """

    logits: Tensor
    boxes: Tensor
    output_embed: Tensor

    def __len__(self) -> int:
        return len(self.logits)


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Feature map of padded images.

    Attributes:
        features: (B, C, H, W).
        valid_ratio: (B, 2) fraction of width and height that is not padding.
    """

    features: Tensor
    valid_ratio: Tensor

    def __getitem__(self, b: int) -> FeatureMap:
        return FeatureMap(self.features[b], self.valid_ratio[b])

    def at(self, points: Tensor) -> Tensor:
        """Return features (B, P, C), interpolated at points.

        Args:
            points: (B, P, 2), xy in [0, 1] of the unpadded image.
        """
        grid = (2 * points * self.valid_ratio[:, None] - 1).to(self.features)[:, None]  # (B, 1, P, 2)
        sampled = F.grid_sample(self.features, grid, padding_mode="border", align_corners=False)  # (B, C, 1, P)
        return sampled[:, :, 0].transpose(1, 2)


@dataclass(frozen=True, eq=False)
class FrameOutput:
    """Output of the model for one frame of each of B videos.

    The Q queries are the Nd detection queries, then the track queries, padded to the longest of the batch.
    ``output[b]`` is batch element b without its padding: the same fields without the dimension B.

    Attributes:
        logits: (B, Q, K) class logits.
        boxes: (B, Q, 4).
        output_embed: (B, Q, C) output of the last decoder layer.
        query_embed: (B, Q, C or 2C) embedding of a track that starts from the query: the content that entered the last
            layer, preceded by the query's position half in the Deformable-DETR variant.
        ref_pts: (B, Q, 4) references that entered the last layer, as logits.
        init_ref_pts: (B, Q, 4) references that entered the first layer, as logits.
        num_detections: Nd.
        num_tracks: number of tracks of each batch element.
        layers: predictions of all layers; None at inference.
        encoded: finest feature map of the encoder; None at inference.
    """

    logits: Tensor
    boxes: Tensor
    output_embed: Tensor
    query_embed: Tensor
    ref_pts: Tensor
    init_ref_pts: Tensor
    num_detections: int
    num_tracks: tuple[int, ...]
    layers: LayerOutputs | None = None
    encoded: FeatureMap | None = None

    _PER_QUERY = ("logits", "boxes", "output_embed", "query_embed", "ref_pts", "init_ref_pts")

    def float(self) -> FrameOutput:
        """Return the output with all predictions of the last layer in float32."""
        return replace(self, **{name: getattr(self, name).float() for name in self._PER_QUERY})

    def join(self, rows: Tensor | None = None) -> FrameOutput:
        """Return B videos as one, without the outputs of all layers.

        Args:
            rows: (B·Nd + N,) rows of the flattened B·Q queries: all detection queries, then all tracks. None: there is
                one video, and its rows stay as they are.
        """
        joined = {name: getattr(self, name).flatten(0, 1) for name in self._PER_QUERY}
        if rows is not None:
            joined = {name: x.index_select(0, rows) for name, x in joined.items()}
        num_detections = len(self.logits) * self.num_detections
        return FrameOutput(**joined, num_detections=num_detections, num_tracks=(sum(self.num_tracks),))

    def __getitem__(self, b: int) -> FrameOutput:
        q = self.num_detections + self.num_tracks[b]
        every = self.layers
        return FrameOutput(
            **{name: getattr(self, name)[b, :q] for name in self._PER_QUERY},
            num_detections=self.num_detections,
            num_tracks=(self.num_tracks[b],),
            layers=every and LayerOutputs(every.logits[:, b, :q], every.boxes[:, b, :q], every.output_embed[:, b, :q]),
            encoded=None if self.encoded is None else self.encoded[b],
        )


@dataclass(frozen=True, eq=False)
class FrameTargets:
    """Ground truth of one frame.

    Attributes:
        ids: (G,) int64; always on the CPU, where they are compared.
        labels: (G,) int64.
        boxes: (G, 4).
    """

    ids: Tensor
    labels: Tensor
    boxes: Tensor

    def __post_init__(self) -> None:
        _check_lengths(self, ("labels", "boxes"), len(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> FrameTargets:
        """Return the ground truth on another device; the copy is asynchronous from pinned memory."""
        labels, boxes = (x.to(device, non_blocking=True) for x in (self.labels, self.boxes))
        return FrameTargets(self.ids, labels, boxes)

    def pin_memory(self) -> FrameTargets:
        """Return the ground truth in page-locked memory."""
        return FrameTargets(self.ids, self.labels.pin_memory(), self.boxes.pin_memory())


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Batch of B clips of T frames.

    Attributes:
        frames: T batches of images; ``frames[t]`` holds frame t of every clip.
        targets: ground truth; ``targets[t][b]`` belongs to frame t of clip b.
    """

    frames: list[ImageBatch]
    targets: list[list[FrameTargets]]

    def __post_init__(self) -> None:
        _check_lengths(self, ("targets",), len(self.frames))
        for images, targets in zip(self.frames, self.targets, strict=True):
            if len(images) != len(targets):
                raise ValueError(f"ClipBatch: {len(images)} images but {len(targets)} targets in a frame")

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device | str) -> ClipBatch:
        """Return the clips on another device; the copies are asynchronous from pinned memory."""
        frames = [images.to(device) for images in self.frames]
        return ClipBatch(frames, [[target.to(device) for target in targets] for targets in self.targets])

    def pin_memory(self) -> ClipBatch:
        """Return the clips in page-locked memory; the data loader calls this."""
        frames = [images.pin_memory() for images in self.frames]
        return ClipBatch(frames, [[target.pin_memory() for target in targets] for targets in self.targets])


@dataclass(frozen=True, eq=False)
class Assignment:
    """Decision which tracks of one video continue after a frame and which detections start tracks.

    It is made by the gate at inference, and by matching with ground truth in training.

    Attributes:
        track_ids: (N,) id of every track after this frame.
        track_keep: the tracks that continue: (N,) bool, or their indices, which need no wait for the device; None: all.
        disappear_time: (N,) int64, number of frames since each track was last seen, this frame included.
        births: (M,) int64, indices of the detection queries that start tracks, in the order of the new tracks.
        birth_ids: (M,) ids of the new tracks.
        birth_labels: (M,) classes of the new tracks.
        birth_from_initial: (M,) bool, True if the new track starts from the query's initial reference points instead of
            the last ones (an unmatched detection that training continues).
    """

    track_ids: Tensor
    track_keep: Tensor | None
    disappear_time: Tensor
    births: Tensor
    birth_ids: Tensor
    birth_labels: Tensor
    birth_from_initial: Tensor

    def __post_init__(self) -> None:
        _check_lengths(self, ("disappear_time",), len(self.track_ids))
        if self.track_keep is not None and self.track_keep.dtype == torch.bool:
            _check_lengths(self, ("track_keep",), len(self.track_ids))
        _check_lengths(self, ("birth_ids", "birth_labels", "birth_from_initial"), len(self.births))
