"""From a configuration to a network with fresh weights. A module receives numbers, never the whole configuration."""

from __future__ import annotations

from memotr.config import Config
from memotr.models.decoder import Decoder, DecoderLayer
from memotr.models.encoder import Encoder, EncoderLayer
from memotr.models.memory import TemporalInteraction
from memotr.models.memotr import MeMOTR, Transformer
from memotr.models.queries import make_queries
from memotr.models.resnet import ResNetBackbone


def build_model(config: Config) -> MeMOTR:
    """A MeMOTR in training mode with newly initialised weights (seed with ``torch.manual_seed``)."""
    c = config.model
    queries = make_queries(c.variant)
    backbone = ResNetBackbone(c.backbone.depths, c.backbone.width, c.backbone.norm, c.backbone.frozen_stages)
    dims = (c.hidden_dim, c.ffn_dim, c.num_levels, c.num_heads)
    encoder = Encoder([EncoderLayer(*dims, c.num_encoder_points, c.dropout) for _ in range(c.num_encoder_layers)])
    decoder_layers = [DecoderLayer(*dims, c.num_decoder_points, c.dropout) for _ in range(c.num_decoder_layers)]
    decoder = Decoder(decoder_layers, c.hidden_dim, queries, c.merge_layer)
    memory = TemporalInteraction(
        c.hidden_dim,
        c.ffn_dim,
        c.memory_heads,
        c.dropout,
        queries,
        c.update_threshold,
        c.long_memory_lambda,
        c.use_long_memory,
    )
    model = MeMOTR(
        backbone,
        Transformer(encoder, decoder, c.num_levels, c.hidden_dim),
        memory,
        queries,
        num_classes=len(config.classes),
        num_queries=c.num_queries,
        position_temperature=c.position_temperature,
    )
    model.config = config
    return model
