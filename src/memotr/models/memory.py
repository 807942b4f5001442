"""Temporal interaction: between two frames every track's query is renewed from short and long memory (section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memotr.boxes import inverse_sigmoid
from memotr.models.layers import FFN, MLP, box_embedding
from memotr.models.queries import QueryVariant
from memotr.structures import TrackState


class TemporalInteraction(nn.Module):
    """Renews the queries and memories of one video's tracks.

    Args:
        dim: C.
        ffn_dim: inner size of the FFNs.
        num_heads: of the attention among tracks.
        dropout: of attention output and FFNs.
        update_threshold: tracks whose best class score is above it are confident; only those are renewed.
        long_memory_lambda: share of the newest output in the long memory (λ).
        use_long_memory: otherwise the short memory stands in its place, to see what the long one is worth.
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        dropout: float,
        update_threshold: float,
        long_memory_lambda: float,
        use_long_memory: bool = True,
    ) -> None:
        super().__init__()
        self.update_threshold = update_threshold
        self.long_memory_lambda = long_memory_lambda
        self.use_long_memory = use_long_memory
        # in a Sequential for the published name, confidence_weight_net.0.*
        self.confidence_weight_net = nn.Sequential(MLP(dim, dim, dim, 2), nn.Sigmoid())
        self.short_memory_fusion = MLP(2 * dim, 2 * dim, dim, 2)
        self.memory_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.memory_dropout = nn.Dropout(dropout)
        self.memory_norm = nn.LayerNorm(dim)
        self.memory_ffn = FFN(dim, ffn_dim, dropout)
        self.query_feat_dropout = nn.Dropout(dropout)
        self.query_feat_norm = nn.LayerNorm(dim)
        self.query_feat_ffn = FFN(dim, ffn_dim, dropout)
        self.query_pos_head = MLP(2 * dim, dim, dim, 2)

    def forward(self, tracks: TrackState, queries: QueryVariant, vacant: Tensor | None = None) -> TrackState:
        """Return the same N tracks, ready for the next frame.

        Args:
            tracks: of one video.
            queries: the variant, which renews positions.
            vacant: (N,) bool, True on rows that are no tracks; None where all are.
        """
        return tracks if len(tracks) == 0 else self.interact(tracks, queries, vacant)

    def interact(self, tracks: TrackState, queries: QueryVariant, vacant: Tensor | None = None) -> TrackState:
        """:meth:`forward` without a look at N: a graph that is exported holds for any number of tracks."""
        confident = (tracks.scores.amax(dim=1) > self.update_threshold)[:, None]  # (N, 1)
        ref_pts = torch.where(confident, inverse_sigmoid(tracks.boxes.detach()), tracks.ref_pts)
        # no gradient runs through the long memory from frame to frame
        output = tracks.output_embed
        long_memory = (tracks.long_memory if self.use_long_memory else tracks.last_output).detach()
        content = self._fuse(ref_pts, output, tracks.last_output, long_memory, vacant)
        renewed = queries.renew(tracks.query_embed, content, output)
        lam = self.long_memory_lambda
        return tracks.replace(
            ref_pts=ref_pts,
            query_embed=torch.where(confident, renewed, tracks.query_embed),
            long_memory=torch.where(confident, (1 - lam) * long_memory + lam * output, tracks.long_memory),
            last_output=torch.where(confident, output, tracks.last_output),
        )

    def _fuse(
        self, ref_pts: Tensor, output: Tensor, last_output: Tensor, long_memory: Tensor, vacant: Tensor | None
    ) -> Tensor:
        """New content (N, C) of every track, all tracks attending to each other."""
        position = self.query_pos_head(box_embedding(ref_pts.sigmoid(), output.shape[-1]))  # (N, C)
        weight = self.confidence_weight_net(output)  # (N, C) in [0, 1]
        short_memory = self.short_memory_fusion(torch.cat((weight * output, last_output), dim=-1))  # (N, C)
        q, k = short_memory + position, long_memory + position
        # With the weights, for the way without them depends on N: an exported graph would hold for one N only.
        hidden = None if vacant is None else vacant[None]
        y, _ = self.memory_attn(q[None], k[None], output[None], key_padding_mask=hidden, need_weights=True)  # (1, N, C)
        y = self.memory_ffn(self.memory_norm(output + self.memory_dropout(y[0])))
        fused: Tensor = self.query_feat_ffn(self.query_feat_norm(long_memory + self.query_feat_dropout(y)))
        return fused
