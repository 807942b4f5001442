"""MeMOTR's network (Gao & Wang, ICCV 2023, arXiv 2307.15700), in the order of section 3 of the paper.

The paper's Figure 1 at frame t, with the method that computes each step:

    encode   image I^t → backbone → encoder → image features                                (section 3.1)
             Q_det → detection decoder D_det → E_det^t                                      (section 3.2)
    decode   [E_det^t, E_tck^t] → joint decoder D_joint → [O_det^t, O_tck^t] → scores c^t, boxes b^t  (section 3.1)
    memory   O_tck^t, O_tck^(t−1), M_tck^t → temporal interaction → E_tck^(t+1), M_tck^(t+1)  (sections 3.3, 3.4)

Between ``decode`` and ``memory`` the gate (inference) or the ground truth (training) decides which tracks continue and
which detections become tracks. The paper's symbols in the code:

    Q_det         det_embed (:mod:`memotr.models.queries`)      learned detection queries ("detect queries")
    E_tck         TrackState.query_embed                        track embeddings, the queries of tracks
    D_det         first ``merge_layer`` layers of the decoder   detection queries only
    D_joint       other layers of the decoder                   detection queries and tracks
    O_det, O_tck  FrameOutput.output_embed                      output of the last layer
    M_tck         TrackState.long_memory                        long-term memory
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memotr.boxes import inverse_sigmoid
from memotr.config import Config
from memotr.models.backbone import Backbone, make_feature_projections, project_features
from memotr.models.decoder import Decoder, DecoderStep
from memotr.models.deformable_attention import DeformableAttention
from memotr.models.encoder import Encoder
from memotr.models.kernels import check_kernel
from memotr.models.layers import MLP
from memotr.models.levels import Levels, Shapes, flatten_maps, lay_out, level_shapes
from memotr.models.memory import TemporalInteraction
from memotr.models.queries import QueryVariant
from memotr.structures import FeatureMap, FrameOutput, ImageBatch, LayerOutputs, TrackState
from memotr.vocabulary import Kernel


class Transformer(nn.Module):
    """Encoder, decoder and level embeddings, grouped as in the published parameter names."""

    def __init__(self, encoder: Encoder, decoder: Decoder, num_levels: int, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.level_embed = nn.Parameter(torch.zeros(num_levels, dim))


class Encoded(NamedTuple):
    """Results of the parts of the network that see no tracks, for B images.

    Attributes:
        memory: (B, S, C) features of all levels, concatenated. DETR calls them memory; it is not the tracks' memory.
        levels: layout of the levels.
        embed: (B, Nd, C or 2C) embeddings of the detection queries, Q_det.
        ref_pts: (B, Nd, 4) their references, as logits.
        detected: steps of D_det; the last one's content is E_det.
    """

    memory: Tensor
    levels: Levels
    embed: Tensor
    ref_pts: Tensor
    detected: tuple[DecoderStep, ...]

    def split(self, levels: Sequence[Levels]) -> list[Encoded]:
        """Split the batch into equal parts, one for each layout."""
        times = len(levels)
        memory, embed, ref_pts = (x.chunk(times) for x in (self.memory, self.embed, self.ref_pts))
        steps = [
            list(map(DecoderStep._make, zip(*(x.chunk(times) for x in step), strict=True))) for step in self.detected
        ]
        return [
            Encoded(memory[t], levels[t], embed[t], ref_pts[t], tuple(step[t] for step in steps)) for t in range(times)
        ]


class MeMOTR(nn.Module):
    """Multi-object tracker with long-term memory (Gao & Wang, ICCV 2023).

    ``output = model(images, tracks)`` is the forward pass of one frame of each of B videos. Once the decision on
    continued and new tracks is applied, ``tracks = model.memory(tracks)`` updates the tracks of one video for its next
    frame.

    Args:
        backbone: module that returns feature maps, see :class:`memotr.models.backbone.Backbone`.
        transformer: encoder, decoder and level embeddings.
        memory: temporal interaction module.
        queries: query variant: DAB or Deformable-DETR.
        num_classes: K.
        num_queries: Nd, number of detection queries.
        position_temperature: temperature of the sine embedding of image positions.
    """

    config: Config
    """Configuration that the model was built from, for saving and tracking. The network itself does not read it."""

    layouts: dict[tuple[Any, Shapes], Levels] | None = None
    """Cache of level layouts, by sizes of images and levels. None disables it, because layouts depend on trained
    weights; :func:`memotr.models.inference.for_inference` enables it."""

    def __init__(
        self,
        backbone: Backbone,
        transformer: Transformer,
        memory: TemporalInteraction,
        queries: QueryVariant,
        *,
        num_classes: int,
        num_queries: int,
        position_temperature: float,
    ) -> None:
        super().__init__()
        num_levels, dim = transformer.level_embed.shape
        self.num_classes, self.num_queries, self.dim = num_classes, num_queries, dim
        self.position_temperature = position_temperature
        self.backbone = backbone
        self.transformer = transformer
        self.query_updater = memory  # published name
        self.queries = queries
        self.feature_projs = make_feature_projections(backbone.channels, dim, num_levels)
        self.class_embed = nn.ModuleList(nn.Linear(dim, num_classes) for _ in transformer.decoder.layers)
        self.bbox_embed = transformer.decoder.bbox_embed  # the same heads refine references and predict boxes
        self._init_heads()

    def _init_heads(self) -> None:
        for head in self.class_embed:
            assert isinstance(head, nn.Linear)
            nn.init.constant_(head.bias, -math.log(99))  # initial probability of every class: 1 %
        for i, mlp in enumerate(self.bbox_embed):
            assert isinstance(mlp, MLP)
            last = mlp.layers[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            if i == 0:
                nn.init.constant_(last.bias[2:], -2.0)  # width and height, as logits: small boxes at first

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.transformer.level_embed.device

    def set_kernel(self, kernel: Kernel) -> MeMOTR:
        """Select the kernel of deformable attention and return the model. Move the model to its device first.

        Raises:
            memotr.errors.UserError: the kernel is unknown or does not support the model's device.
        """
        check_kernel(kernel, self.device)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.kernel = kernel
        return self

    def recompute_activations(self, parts: Collection[str]) -> MeMOTR:
        """Select the parts that recompute their activations in the backward pass, and return the model.

        This saves memory, costs time and does not change results.

        Args:
            parts: any of "backbone", "encoder" and "decoder".
        """
        self.backbone.recompute = "backbone" in parts
        self.transformer.encoder.recompute = "encoder" in parts
        self.transformer.decoder.recompute = "decoder" in parts
        return self

    def compile_layers(self) -> MeMOTR:
        """Compile the layers of encoder and decoder with ``torch.compile``, for changing sizes, and return the model.

        The first steps take minutes. Copies of the model, such as those for inference, are not compiled.
        """
        for layer in (*self.transformer.encoder.layers, *self.transformer.decoder.layers):
            layer.compile(dynamic=True)
        return self

    def no_tracks(self, history: int = 0) -> TrackState:
        """Return the state before the first frame of a video: no tracks.

        Args:
            history: H, number of seen boxes that each track remembers for the motion model.
        """
        return TrackState.empty(self.num_classes, self.dim, self.dim * self.queries.parts, history, self.device)

    def forward(
        self,
        images: ImageBatch,
        tracks: Sequence[TrackState],
        aux: bool | None = None,
        vacant: Tensor | None = None,
    ) -> FrameOutput:
        """Run the network on one frame of each of B videos.

        Args:
            images: B images, one of each video.
            tracks: B states, the tracks of each video; a state may be empty.
            aux: return the predictions of all decoder layers; None: in training mode only.
            vacant: (B, N) bool, True on rows of the states that hold no track; every state has N rows then. None: all
                rows hold tracks.
        """
        return self.decode(self.encode(images), tracks, aux, vacant)

    def encode(self, images: ImageBatch) -> Encoded:
        """Run everything that sees no tracks on B images: backbone, projections, encoder and D_det."""
        return self.encode_frames([images])[0]

    def encode_frames(self, frames: Sequence[ImageBatch]) -> list[Encoded]:
        """Run :meth:`encode` on T frames of B videos as one batch of T·B images; their padded sizes must be equal."""
        images, times = ImageBatch.cat(frames), len(frames)
        maps = project_features(self.feature_projs, self.backbone(images.pixels))  # L of (T*B, C, H_l, W_l)
        shapes = tuple((m.shape[2], m.shape[3]) for m in maps)
        alike = frames[0].sizes is not None and all(frame.sizes == frames[0].sizes for frame in frames)
        levels = self._lay_out(frames[0] if alike else images, shapes)  # of the B images, or of all T*B
        memory = self.transformer.encoder(flatten_maps(maps), levels)  # (T*B, S, C)
        embed, ref_pts = (x.expand(len(memory), *x.shape) for x in self.queries.detections())  # (T*B, Nd, ...)
        every = levels.repeat(len(memory) // len(levels.positions))
        detected = self.transformer.decoder.detect(self.queries, embed, ref_pts.sigmoid(), memory, every)
        encoded = Encoded(memory, levels, embed, ref_pts, tuple(detected))
        return [encoded] if times == 1 else encoded.split([levels] * times if alike else levels.split(times))

    def decode(
        self,
        encoded: Encoded,
        tracks: Sequence[TrackState],
        aux: bool | None = None,
        vacant: Tensor | None = None,
    ) -> FrameOutput:
        """Run the decoder on encoded images with the tracks of each video; arguments as in :meth:`forward`."""
        embed, ref_pts, padding_mask = self._gather_queries(encoded, tracks, vacant)  # [Q_det, E_tck]
        steps = self.transformer.decoder.join(
            self.queries, embed, ref_pts.sigmoid(), encoded.detected, encoded.memory, encoded.levels, padding_mask
        )
        every = self._every_layer(steps) if (self.training if aux is None else aux) else None
        last = steps[-1]
        return FrameOutput(
            logits=self.class_embed[-1](last.content) if every is None else every.logits[-1],
            boxes=last.boxes,
            output_embed=last.content,
            query_embed=self.queries.birth_embed(embed, last.entered),
            ref_pts=inverse_sigmoid(last.reference),
            init_ref_pts=inverse_sigmoid(steps[0].reference),
            num_detections=self.num_queries,
            num_tracks=tuple(len(t) for t in tracks),
            layers=every,
            encoded=None if every is None else _finest_map(encoded),
        )

    def memory(self, tracks: TrackState, vacant: Tensor | None = None) -> TrackState:
        """Update the tracks of one video for its next frame (sections 3.3 and 3.4).

        Args:
            tracks: N tracks of one video.
            vacant: (N,) bool, True on rows that hold no track; None: all rows hold tracks.
        """
        updated: TrackState = self.query_updater(tracks, self.queries, vacant)
        return updated

    def prepare_layout(self, images: ImageBatch) -> None:
        """Compute and cache the layout for images of this size, so that the next forward pass only reads it."""
        height, width = images.pixels.shape[2:]
        self._lay_out(images, level_shapes(height, width, self.backbone.strides, len(self.transformer.level_embed)))

    def _lay_out(self, images: ImageBatch, shapes: Shapes) -> Levels:
        """Return the layout of the levels for B images, from the cache if the last images had the same sizes."""
        key = (images.sizes, shapes)
        cached = self.layouts.get(key) if self.layouts is not None and images.sizes is not None else None
        if cached is not None:
            return cached
        levels = lay_out(images, shapes, self.transformer.level_embed, self.position_temperature)
        if self.layouts is not None and images.sizes is not None:
            self.layouts.clear()  # one entry is enough: the frames of a video share a size
            self.layouts[key] = levels
        return levels

    def _gather_queries(
        self, encoded: Encoded, tracks: Sequence[TrackState], vacant: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Concatenate the detection queries with the track queries of each video, padded to the longest.

        Returns:
            Embeddings (B, Q, C or 2C), reference logits (B, Q, 4), and padding mask (B, Q), True on padding and vacant
            rows; None without any.
        """
        counts = [len(t) for t in tracks]
        track_embed = torch.stack([_pad(t.query_embed, max(counts) - len(t)) for t in tracks])
        track_ref_pts = torch.stack([_pad(t.ref_pts, max(counts) - len(t)) for t in tracks])
        embed = torch.cat((encoded.embed, track_embed), dim=1)
        ref_pts = torch.cat((encoded.ref_pts, track_ref_pts), dim=1)
        if vacant is not None:
            return embed, ref_pts, F.pad(vacant, (self.num_queries, 0))
        if min(counts) == max(counts):
            return embed, ref_pts, None
        # Filled on the device, because a copy from the host would make it wait.
        lengths = torch.stack([torch.full((), self.num_queries + n, device=embed.device) for n in counts])
        return embed, ref_pts, torch.arange(embed.shape[1], device=embed.device) >= lengths[:, None]

    def _every_layer(self, steps: list[DecoderStep]) -> LayerOutputs:
        """Return the predictions of all layers, which only training needs: all class heads in one product."""
        content = torch.stack([step.content for step in steps])  # (Ld, B, Q, C)
        heads = [head for head in self.class_embed if isinstance(head, nn.Linear)]
        weight = torch.stack([head.weight for head in heads])  # (Ld, K, C)
        bias = torch.stack([head.bias for head in heads])  # (Ld, K)
        # In this order the gradient of a weight is contiguous, as data parallelism wants it.
        logits = torch.baddbmm(bias[..., None], weight, content.flatten(1, 2).transpose(1, 2))  # (Ld, K, B*Q)
        boxes = torch.stack([step.boxes for step in steps])  # (Ld, B, Q, 4)
        return LayerOutputs(logits.unflatten(2, boxes.shape[1:3]).permute(0, 2, 3, 1), boxes, content)


def _finest_map(encoded: Encoded) -> FeatureMap:
    """Return the encoder's finest feature map."""
    memory, levels = encoded.memory, encoded.levels
    height, width = levels.shapes[0]
    features = memory[:, : height * width].transpose(1, 2).unflatten(2, (height, width))
    return FeatureMap(features, levels.valid_ratios[:, 0])


def _pad(x: Tensor, rows: int) -> Tensor:
    """Append rows of zeros along the first dimension."""
    return x if rows == 0 else torch.cat((x, x.new_zeros(rows, *x.shape[1:])))
