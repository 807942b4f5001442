"""Checks of exported ONNX files before ONNX Runtime opens them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from memotr.errors import UserError, first_line

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

STANDARD = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators. Operators of other domains may come from anyone."""


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an exported file.

    Raises:
        UserError: the file is damaged, or contains something that ``memotr export`` does not write: tensors in other
            files (which could be any file of the user), operators other than ONNX's own, or functions.
    """
    import onnx

    try:
        model = onnx.load_model(path, load_external_data=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # the parser's exceptions have no common base class
        raise UserError(f"{path}: not readable as ONNX ({first_line(error)})") from None
    for problem in _problems(model):
        raise UserError(f"{path}: refused, because {problem}, which memotr export does not write")
    return {entry.key: entry.value for entry in model.metadata_props}


def _problems(model: ModelProto) -> Iterator[str]:
    """Yield a description of each content that ``memotr export`` does not write."""
    if model.functions or model.training_info:
        yield "it contains functions or a training graph"
    for graph in _graphs(model.graph):
        tensors = [*graph.initializer, *(part for t in graph.sparse_initializer for part in (t.values, t.indices))]
        for node in graph.node:
            if node.domain not in STANDARD:
                yield f"it calls {node.op_type!r} of the domain {node.domain!r}"
            tensors += _tensors(node)
        if any(tensor.external_data or tensor.data_location for tensor in tensors):
            yield "one of its tensors is stored in another file"


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield the graph and all graphs inside its nodes, such as the bodies of loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _graphs(inner)


def _tensors(node: NodeProto) -> Iterator[TensorProto]:
    """Yield the tensors in the attributes of a node."""
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
