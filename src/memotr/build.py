"""From a configuration to a network with fresh weights. A module receives numbers, never the whole configuration."""

from __future__ import annotations

from memotr.config import BackboneConfig, Config
from memotr.models.backbone import Backbone
from memotr.models.decoder import Decoder, DecoderLayer
from memotr.models.encoder import Encoder, EncoderLayer
from memotr.models.memory import TemporalInteraction
from memotr.models.memotr import MeMOTR, Transformer
from memotr.models.queries import make_queries
from memotr.models.resnet import ResNetBackbone
from memotr.models.transformers_backbone import TransformersBackbone, count_parameters


def build_model(config: Config) -> MeMOTR:
    """A MeMOTR in training mode with newly initialised weights (seed with ``torch.manual_seed``)."""
    c = config.model
    queries = make_queries(c.variant)
    backbone = build_backbone(c.backbone)
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


def build_backbone(config: BackboneConfig) -> Backbone:
    """A backbone with newly initialised weights."""
    if config.transformers_type is not None:
        return TransformersBackbone(config.transformers_type, config.config)
    return ResNetBackbone(config.depths, config.width, config.norm, config.frozen_stages)


def expected_parameters(config: Config) -> int:
    """Return the approximate number of parameters of a model, without building it."""
    count = config.model.count_parameters(len(config.classes))
    kind = config.model.backbone.transformers_type
    return count if kind is None else count + count_parameters(kind, config.model.backbone.config)
