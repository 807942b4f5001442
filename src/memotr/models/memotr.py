"""The assembly: a batch of images and the tracks followed in each, to what the model says of every query."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
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
from memotr.structures import FeatureMap, FrameOutput, ImageBatch, LayerOutput, TrackState
from memotr.vocabulary import Kernel


class Transformer(nn.Module):
    """Encoder, decoder and level embeddings."""

    def __init__(self, encoder: Encoder, decoder: Decoder, num_levels: int, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.level_embed = nn.Parameter(torch.zeros(num_levels, dim))


class Encoded(NamedTuple):
    """Images behind the encoder.

    Attributes:
        memory: (B, S, C) features of all levels, one after the other.
        levels: layout of the levels.
    """

    memory: Tensor
    levels: Levels


class MeMOTR(nn.Module):
    """Multi-object tracker with long-term memory (Gao & Wang, ICCV 2023).

    ``output = model(images, tracks)`` looks at one frame of every video of a batch; after the lifecycle decided who
    is who, ``tracks = model.memory(tracks)`` makes them ready for the next one.
    """

    config: Config
    """What the model was built from: for those who save it or track with it; the network itself does not read it."""

    layouts: dict[tuple[Any, Shapes], Levels] | None = None
    """Layouts by the sizes of images and levels; kept only where weights are constant (see ``for_inference``)."""

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
        self.query_updater = memory
        self.queries = queries
        self.feature_projs = make_feature_projections(backbone.channels, dim, num_levels)
        self.class_embed = nn.ModuleList(nn.Linear(dim, num_classes) for _ in transformer.decoder.layers)
        self.bbox_embed = transformer.decoder.bbox_embed  # one head for refinement and prediction
        self._init_heads()

    def _init_heads(self) -> None:
        for head in self.class_embed:
            assert isinstance(head, nn.Linear)
            nn.init.constant_(head.bias, -math.log(99))  # every class starts at a probability of 1 %
        for i, mlp in enumerate(self.bbox_embed):
            assert isinstance(mlp, MLP)
            last = mlp.layers[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            if i == 0:
                nn.init.constant_(last.bias[2:], -2.0)

    @property
    def device(self) -> torch.device:
        return self.transformer.level_embed.device

    def set_kernel(self, kernel: Kernel) -> MeMOTR:
        """Choose the operator behind deformable attention, for the device that the model is on; returns the model.

        Raises:
            memotr.errors.UserError: there is no such kernel, or not for that device.
        """
        check_kernel(kernel, self.device)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.kernel = kernel
        return self

    def recompute_activations(self, parts: Collection[str]) -> MeMOTR:
        """Name the parts ("backbone", "encoder", "decoder") whose inner values are computed again in the backward pass.

        Changes memory and time, never results. Returns the model.
        """
        self.backbone.recompute = "backbone" in parts
        self.transformer.encoder.recompute = "encoder" in parts
        self.transformer.decoder.recompute = "decoder" in parts
        return self

    def no_tracks(self, history: int = 0) -> TrackState:
        """The state before the first frame of a video."""
        return TrackState.empty(self.num_classes, self.dim, self.dim * self.queries.parts, history, self.device)

    def forward(
        self,
        images: ImageBatch,
        tracks: Sequence[TrackState],
        aux: bool | None = None,
        vacant: Tensor | None = None,
    ) -> FrameOutput:
        """Look at one frame.

        Args:
            images: one image of each of B videos.
            tracks: the objects followed in each of them (B states, empty ones included).
            aux: also return what the earlier decoder layers say; by default in training mode only.
            vacant: (B, N) bool, True on rows of the states, all N long, that are no tracks; None where all are.
        """
        return self.decode(self.encode(images), tracks, aux, vacant)

    def encode(self, images: ImageBatch) -> Encoded:
        """Run backbone, projections and encoder, which know no tracks: any B images can go through them together."""
        maps = project_features(self.feature_projs, self.backbone(images.pixels))
        levels = self._lay_out(images, tuple((m.shape[2], m.shape[3]) for m in maps))
        return Encoded(self.transformer.encoder(flatten_maps(maps), levels), levels)

    def decode(
        self,
        encoded: Encoded,
        tracks: Sequence[TrackState],
        aux: bool | None = None,
        vacant: Tensor | None = None,
    ) -> FrameOutput:
        """Run the decoder on encoded images with the tracks of each; arguments as in :meth:`forward`."""
        memory, levels = encoded
        embed, ref_pts, padding = self._gather_queries(tracks, vacant)
        steps = self.transformer.decoder(
            self.queries, embed, ref_pts.sigmoid(), memory, levels, padding, self.num_queries
        )
        output = self._output(steps, embed, [len(t) for t in tracks])
        return self._with_aux(output, steps, memory, levels) if (self.training if aux is None else aux) else output

    def memory(self, tracks: TrackState, vacant: Tensor | None = None) -> TrackState:
        """Renew the tracks of one video for its next frame; ``vacant`` (N,) as in :meth:`forward`."""
        renewed: TrackState = self.query_updater(tracks, self.queries, vacant)
        return renewed

    def prepare_layout(self, images: ImageBatch) -> None:
        """Have the layout of images of this size ready, where layouts are remembered."""
        height, width = images.pixels.shape[2:]
        self._lay_out(images, level_shapes(height, width, self.backbone.strides, len(self.transformer.level_embed)))

    def _lay_out(self, images: ImageBatch, shapes: Shapes) -> Levels:
        """The layout of the levels: computed, or remembered from the last images of these sizes."""
        key = (images.sizes, shapes)
        known = self.layouts.get(key) if self.layouts is not None and images.sizes is not None else None
        if known is not None:
            return known
        levels = lay_out(images, shapes, self.transformer.level_embed, self.position_temperature)
        if self.layouts is not None and images.sizes is not None:
            self.layouts.clear()  # a video has one size
            self.layouts[key] = levels
        return levels

    def _gather_queries(
        self, tracks: Sequence[TrackState], vacant: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embeddings (B, Q, C or 2C), reference logits (B, Q, 4) and padding (B, Q) of detection and track queries."""
        counts = [len(t) for t in tracks]
        det_embed, det_ref_pts = self.queries.detections()
        embed = torch.stack([_pad(torch.cat((det_embed, t.query_embed)), max(counts) - len(t)) for t in tracks])
        ref_pts = torch.stack([_pad(torch.cat((det_ref_pts, t.ref_pts)), max(counts) - len(t)) for t in tracks])
        if vacant is not None:
            return embed, ref_pts, F.pad(vacant, (self.num_queries, 0))
        if min(counts) == max(counts):
            return embed, ref_pts, None
        # Filled in on the device, for a copy from the host would be waited for.
        lengths = torch.stack([torch.full((), self.num_queries + n, device=embed.device) for n in counts])
        return embed, ref_pts, torch.arange(embed.shape[1], device=embed.device) >= lengths[:, None]

    def _output(self, steps: list[DecoderStep], embed: Tensor, num_tracks: list[int]) -> FrameOutput:
        last = steps[-1]
        return FrameOutput(
            logits=self.class_embed[-1](last.content),
            boxes=last.boxes,
            output_embed=last.content,
            query_embed=self.queries.birth_embed(embed, last.entered),
            ref_pts=inverse_sigmoid(last.reference),
            init_ref_pts=inverse_sigmoid(steps[0].reference),
            num_detections=self.num_queries,
            num_tracks=tuple(num_tracks),
        )

    def _with_aux(self, output: FrameOutput, steps: list[DecoderStep], memory: Tensor, levels: Levels) -> FrameOutput:
        """With what training looks at besides: the earlier layers and the encoder's finest level."""
        height, width = levels.shapes[0]
        return replace(
            output,
            aux=tuple(
                LayerOutput(head(step.content), step.boxes, step.content)
                for head, step in zip(self.class_embed, steps[:-1], strict=False)
            ),
            encoded=FeatureMap(
                memory[:, : height * width].transpose(1, 2).unflatten(2, (height, width)), levels.valid_ratios[:, 0]
            ),
        )


def _pad(x: Tensor, rows: int) -> Tensor:
    """Append rows of zeros."""
    return x if rows == 0 else torch.cat((x, x.new_zeros(rows, *x.shape[1:])))
