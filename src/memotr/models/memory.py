"""Temporal interaction module (section 3.4 of the paper) and update of the long-term memory (section 3.3).

It runs between frame t and frame t + 1. The paper's symbols in the code:

    O_tck^t        output            decoder output of this frame
    O_tck^(t−1)    last_output       decoder output of the last confident frame (short-term memory)
    M_tck^t        long_memory       running average of the decoder outputs (long-term memory)
    E_tck^(t+1)    content           track embedding with which the next frame is decoded
    W              weight            channel-wise weight of the adaptive aggregation
    λ              lam               memory update rate
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memotr.boxes import inverse_sigmoid
from memotr.models.layers import FFN, MLP, Attention, box_embedding
from memotr.models.queries import QueryVariant
from memotr.structures import TrackState


class TemporalInteraction(nn.Module):
    """Module that updates the embeddings, reference points and memories of one video's tracks.

    Args:
        dim: C, number of channels.
        ffn_dim: hidden size of the FFNs.
        num_heads: number of heads of the attention among tracks.
        dropout: dropout rate of the attention output and the FFNs.
        update_threshold: tracks with a best class score above it are confident, and only these are updated; in [0, 1].
        long_memory_lambda: λ, weight of the newest output in the long-term memory.
        use_long_memory: False uses the last confident output in place of the long-term memory (ablation).
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
        # A Sequential gives the published names, confidence_weight_net.0.*
        self.confidence_weight_net = nn.Sequential(MLP(dim, dim, dim, 2), nn.Sigmoid())
        self.short_memory_fusion = MLP(2 * dim, 2 * dim, dim, 2)
        self.memory_attn = Attention(dim, num_heads)
        self.memory_dropout = nn.Dropout(dropout)
        self.memory_norm = nn.LayerNorm(dim)
        self.memory_ffn = FFN(dim, ffn_dim, dropout)
        self.query_feat_dropout = nn.Dropout(dropout)
        self.query_feat_norm = nn.LayerNorm(dim)
        self.query_feat_ffn = FFN(dim, ffn_dim, dropout)
        self.query_pos_head = MLP(2 * dim, dim, dim, 2)

    def forward(self, tracks: TrackState, queries: QueryVariant, vacant: Tensor | None = None) -> TrackState:
        """Return the N tracks with embeddings, reference points and memories for the next frame.

        Args:
            tracks: N tracks, of one video unless ``vacant`` keeps several videos apart.
            queries: query variant, which updates learned positions.
            vacant: (N,) bool, True on rows that hold no track; or (N, N) bool, True where the track of a row does not
                see that of a column. None: all rows hold tracks that see each other.
        """
        return tracks if len(tracks) == 0 else self.interact(tracks, queries, vacant)

    def interact(self, tracks: TrackState, queries: QueryVariant, vacant: Tensor | None = None) -> TrackState:
        """Update N tracks as :meth:`forward` does, without a branch on N, which an exported graph cannot contain."""
        confident = (tracks.scores.amax(dim=1) > self.update_threshold)[:, None]  # (N, 1)
        ref_pts = torch.where(confident, inverse_sigmoid(tracks.boxes.detach()), tracks.ref_pts)  # (N, 4) logits
        output = tracks.output_embed  # (N, C)
        # Detached: no gradient flows through the long-term memory from frame to frame.
        long_memory = (tracks.long_memory if self.use_long_memory else tracks.last_output).detach()  # (N, C)
        content = self._fuse(ref_pts, output, tracks.last_output, long_memory, vacant)  # (N, C)
        query_embed = queries.update_embed(tracks.query_embed, content, output)  # (N, C or 2C)
        lam = self.long_memory_lambda  # M_tck^(t+1) = (1 − λ) M_tck^t + λ O_tck^t (section 3.3)
        return tracks.replace(
            ref_pts=ref_pts,
            query_embed=torch.where(confident, query_embed, tracks.query_embed),
            long_memory=torch.where(confident, (1 - lam) * long_memory + lam * output, tracks.long_memory),
            last_output=torch.where(confident, output, tracks.last_output),
        )

    def _fuse(
        self, ref_pts: Tensor, output: Tensor, last_output: Tensor, long_memory: Tensor, vacant: Tensor | None
    ) -> Tensor:
        """Return the next content (N, C) of every track (section 3.4); the tracks attend to each other."""
        position = self.query_pos_head(box_embedding(ref_pts.sigmoid(), output.shape[-1]))  # (N, C)
        # Adaptive aggregation of two adjacent frames.
        weight = self.confidence_weight_net(output)  # (N, C) in [0, 1]
        short_memory = self.short_memory_fusion(torch.cat((weight * output, last_output), dim=-1))  # (N, C)
        # Attention among the tracks. The long-term memory is the key, and is added to the attention's result below.
        q, k = short_memory + position, long_memory + position
        blocked = None if vacant is None else torch.atleast_2d(vacant)  # (1 or N, N)
        y = self.memory_attn(q, k, output, batch=1, blocked=blocked)
        y = self.memory_ffn(self.memory_norm(output + self.memory_dropout(y)))  # (N, C)
        fused: Tensor = self.query_feat_ffn(self.query_feat_norm(long_memory + self.query_feat_dropout(y)))  # (N, C)
        return fused
