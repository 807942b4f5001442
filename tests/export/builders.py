"""Engines without an export: the frame step itself, and networks that are quick to trace."""

import pytest
import torch

from memotr.export.frame_step import INPUTS, OUTPUTS, ExportedStep
from tests.builders import tiny_model


class EagerEngine:
    """The frame step as it is, in the place of an exported one."""

    def __init__(self, model):
        self.step = ExportedStep(model)
        self.config = model.config

    @torch.inference_mode()
    def run(self, inputs):
        return dict(zip(OUTPUTS, self.step(*(inputs[name] for name in INPUTS)), strict=True))


def smallest_model(variant, classes, **model):
    size = {"num_levels": 2, "num_encoder_layers": 1, "num_decoder_layers": 2}
    return tiny_model(variant, classes, **size, **model).set_kernel("reference")


def onnx_bytes(texts, change=lambda model: None):
    """A model of one operator, with metadata."""
    onnx = pytest.importorskip("onnx")
    value, weight = onnx.helper.make_tensor_value_info, onnx.helper.make_tensor("w", 1, [1], [0.0])
    node = onnx.helper.make_node("Add", ["a", "w"], ["b"])
    graph = onnx.helper.make_graph([node], "other", [value("a", 1, [1])], [value("b", 1, [1])], [weight])
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)])
    onnx.helper.set_model_props(model, texts)
    change(model)
    return model.SerializeToString()
