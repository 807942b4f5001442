"""Construction of the network from a configuration. Modules receive numbers, not the configuration itself."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from memotr.config import BackboneConfig, Config
from memotr.errors import wrong_type
from memotr.models.backbone import Backbone
from memotr.models.decoder import Decoder, DecoderLayer
from memotr.models.deformable_attention import DeformableAttention
from memotr.models.encoder import Encoder, EncoderLayer
from memotr.models.memory import TemporalInteraction
from memotr.models.memotr import MeMOTR, Transformer
from memotr.models.queries import QUERY_VARIANTS
from memotr.models.resnet import ResNetBackbone
from memotr.models.transformers_backbone import TransformersBackbone, count_parameters


def build_model(
    config: Config, *, backbone: Backbone | None = None, memory: type[TemporalInteraction] = TemporalInteraction
) -> MeMOTR:
    """Return a MeMOTR network in training mode with newly initialised weights.

    ``torch.manual_seed`` determines the weights. Random numbers are drawn in the order of a network whose
    variant-specific parameters are placed as their published names say: in the decoder, in the memory and in the model.
    Another order would change the weights of every seed.

    Args:
        config: settings.
        backbone: backbone in place of the configured one.
        memory: class of the memory.

    Raises:
        TypeError: the settings are no :class:`memotr.config.Config`.
    """
    if not isinstance(config, Config):
        raise wrong_type("a configuration, which memotr.load_config reads", config)
    c = config.model
    with torch.random.fork_rng(devices=[]):  # the draws made here are repeated below, in the published order
        queries = QUERY_VARIANTS[c.variant](c.num_queries, c.hidden_dim)
    backbone = build_backbone(c.backbone) if backbone is None else backbone
    dims = (c.hidden_dim, c.ffn_dim, c.num_levels, c.num_heads)
    encoder = Encoder([EncoderLayer(*dims, c.num_encoder_points, c.dropout) for _ in range(c.num_encoder_layers)])
    decoder_layers = [DecoderLayer(*dims, c.num_decoder_points, c.dropout) for _ in range(c.num_decoder_layers)]
    decoder = Decoder(decoder_layers, c.hidden_dim, c.merge_layer)
    _draw_linear_layers(queries.heads)
    interaction = memory(
        c.hidden_dim,
        c.ffn_dim,
        c.memory_heads,
        c.dropout,
        c.update_threshold,
        c.long_memory_lambda,
        c.use_long_memory,
    )
    _draw_linear_layers(queries.memory)
    _draw_matrices(interaction, queries.memory)
    transformer = Transformer(encoder, decoder, c.num_levels, c.hidden_dim)
    _draw_matrices(transformer, queries.heads)
    for module in transformer.modules():
        if isinstance(module, DeformableAttention):
            module.reset_parameters()
    nn.init.normal_(transformer.level_embed)
    queries.reset_parameters()
    model = MeMOTR(
        backbone,
        transformer,
        interaction,
        queries,
        num_classes=len(config.classes),
        num_queries=c.num_queries,
        position_temperature=c.position_temperature,
    )
    model.config = config
    return model


def build_backbone(config: BackboneConfig) -> Backbone:
    """Return a backbone with newly initialised weights. Raises UserError for unknown types and settings."""
    if config.transformers_type is not None:
        return TransformersBackbone(config.transformers_type, config.config)
    return ResNetBackbone(config.depths, config.width, config.norm, config.frozen_stages)


def expected_parameters(config: Config) -> int:
    """Return the approximate number of parameters of a model, without building it."""
    count = config.model.count_parameters(len(config.classes))
    kind = config.model.backbone.transformers_type
    return count if kind is None else count + count_parameters(kind, config.model.backbone.config)


def _draw_linear_layers(part: nn.Module) -> None:
    """Initialise the linear layers of a part again, as their constructors do."""
    for module in part.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()


def _draw_matrices(*parts: nn.Module) -> None:
    """Initialise all parameters except biases and normalisation Xavier-uniformly, part after part."""
    for parameter in chain.from_iterable(part.parameters() for part in parts):
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
