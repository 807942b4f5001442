"""Engines without an export: the frame step itself, and networks that are quick to trace."""

import torch

from memotr.export.frame_step import INPUTS, OUTPUTS, FrameStep
from tests.builders import tiny_model


class EagerEngine:
    """The frame step as it is, in the place of an exported one."""

    def __init__(self, model):
        self.step = FrameStep(model)
        self.config = model.config

    @torch.inference_mode()
    def run(self, inputs):
        return dict(zip(OUTPUTS, self.step(*(inputs[name] for name in INPUTS)), strict=True))


def smallest_model(variant, classes):
    return tiny_model(variant, classes, num_levels=2, num_encoder_layers=1, num_decoder_layers=2).set_kernel(
        "reference"
    )
