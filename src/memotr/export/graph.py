"""Interpreter for the graph of an exported program, which runs no code from the file.

The file contains names of operators and numbers. Operators must be in a fixed list, numbers become their arguments, and
nothing else is evaluated, neither source text nor expressions.
"""

from __future__ import annotations

import json
import math
import operator
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import torch
from torch import Tensor

from memotr.export.archive import GRAPH, SAMPLES, TENSORS, Archive
from memotr.weights.tensor_files import stored_members

_ATEN = """
    _assert_scalar _assert_tensor_metadata abs add add_ addcmul alias all amax amin any arange argmax batch_norm
    bitwise_and bitwise_not bitwise_or bmm cat chunk clamp clamp_max clamp_min clone contiguous conv2d copy_ cos cumsum
    detach detach_ div dropout eq exp expand fill_ flatten floor_divide full full_like gather ge gelu grid_sampler
    group_norm gt index item layer_norm le linear log logical_and logical_not logical_or lt masked_fill masked_fill_
    matmul max max_pool2d maximum mean min minimum mul mul_ nan_to_num ne neg new_full new_ones new_zeros nonzero ones
    ones_like permute pow reciprocal relu relu_ repeat reshape rsub scaled_dot_product_attention select sigmoid sin
    slice softmax split split_with_sizes sqrt squeeze stack sub sub_ sum sym_size to transpose unflatten unsqueeze
    upsample_nearest2d view view_as where zeros zeros_like
""".split()  # noqa: SIM905
"""Allowed tensor operators, which access no files and check their arguments: those in traces of the frame step with any
backbone, and similar ones that another version of PyTorch may use instead."""

_ON_NUMBERS: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
} | {f"torch.{name}": getattr(torch, name) for name in ("sym_max", "sym_min", "sym_not", "sym_int", "sym_float")}

# Codes of dtypes, memory formats and layouts in the file.
_DTYPES = {1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16}
_DTYPES |= {7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16}
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_LAYOUTS = {7: torch.strided}

_EXPRESSION = re.compile(
    r"(?>[a-z]{1,3}\d+|[A-Z][A-Za-z]*|[a-z]+=(?:True|False)|\d+(?:\.\d+)?(?:e-?\d+)?|[-+*/(),=' ])*+"
)
"""Allowed form of the expression of a size: symbols, digits, operators and SymPy's names of operators. Atomic groups
keep matching fast."""

_GUARD = re.compile(r"(?>L\['\w+'\]|\.size\(\)|\[\d+\]|\b(?:and|or|not|max|min|Eq|Ne)\b|\d+|[-+*/%()<>=!, ])*+")
"""Allowed form of a guard: a condition on the sizes of inputs."""


class GraphError(Exception):
    """Error for a graph with something that ``memotr export`` does not write."""


@dataclass(frozen=True)
class _Name:
    """Reference to an earlier result in the arguments of an instruction."""

    name: str


@dataclass(frozen=True)
class _Instruction:
    """Call of an operator.

    Attributes:
        target: the operator.
        args: positional arguments.
        kwargs: keyword arguments.
        results: name of the result; several names if the result is a sequence.
        last_uses: names that no later instruction uses.
    """

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: str | tuple[str, ...]
    last_uses: tuple[str, ...]


class Program:
    """Graph with its weights on the CPU.

    Args:
        archive: archive with the graph.
        num_inputs: expected number of input tensors.
        num_outputs: expected number of output tensors.

    Raises:
        GraphError: the graph contains something that ``memotr export`` does not write.
        Exception: of any class, if parts of the graph do not fit together.
    """

    def __init__(self, archive: Archive, num_inputs: int, num_outputs: int) -> None:
        document = json.loads(archive.read(GRAPH), object_hook=_refuse_expressions)
        if not all(_GUARD.fullmatch(guard) for guard in document.get("guards_code", ())):
            raise GraphError("a guard is more than a comparison of sizes")
        if archive.read("byteorder") != sys.byteorder.encode():
            raise GraphError("its byte order is not that of this machine")
        if SAMPLES in archive:
            _check_samples(archive.read(SAMPLES))
        module = document["graph_module"]
        tensors = _Tensors(archive)
        self._constants: dict[str, Tensor] = {}
        self.inputs: list[str] = []
        for spec in module["signature"]["input_specs"]:
            ((kind, content),) = spec.items()
            name = content["arg"].get("as_tensor", content["arg"])["name"]
            if kind == "user_input":
                self.inputs.append(name)
            elif kind in _STORED:
                self._constants[name] = tensors.read(content[_STORED[kind]])
            else:
                raise GraphError(f"an input is a {kind}")
        self.outputs = [output["as_tensor"]["name"] for output in module["graph"]["outputs"]]
        if (len(self.inputs), len(self.outputs)) != (num_inputs, num_outputs):
            raise GraphError(
                f"it has {len(self.inputs)} inputs and {len(self.outputs)} outputs, not {num_inputs} and {num_outputs}"
            )
        steps = [_instruction(node) for node in module["graph"]["nodes"]]
        self._instructions = _free_early(steps, keep={*self._constants, *self.outputs})

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run the graph on the input tensors, and return its output tensors."""
        values: dict[str, Any] = {**self._constants, **dict(zip(self.inputs, inputs, strict=True))}
        for step in self._instructions:
            kwargs = {name: _fill_in(value, values) for name, value in step.kwargs.items()}
            result = step.target(*(_fill_in(value, values) for value in step.args), **kwargs)
            if isinstance(step.results, str):
                values[step.results] = result
            else:
                values.update(zip(step.results, result or (), strict=True))
            del result
            for name in step.last_uses:
                del values[name]
        return [values[name] for name in self.outputs]


_STORED = {
    "parameter": "parameter_name",
    "buffer": "buffer_name",
    "tensor_constant": "tensor_constant_name",
}
"""Kind of input that the file stores → key of its name."""


class _Tensors:
    """Tensors stored in an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._places: dict[str, tuple[str, dict[str, Any]]] = {}
        for kind, member in TENSORS.items():
            config = json.loads(archive.read(member), object_hook=_refuse_expressions)["config"]
            self._places |= {name: (f"data/{kind}/{place['path_name']}", place) for name, place in config.items()}
        if any(place["use_pickle"] is not False for _, place in self._places.values()):
            raise GraphError("a tensor in it is a pickle, which could run code")
        self._flat: dict[str, Tensor] = {}  # member → content, which several tensors may share

    def read(self, name: str) -> Tensor:
        """Return a tensor. Raises GraphError if it does not fit into its member of the archive."""
        path, place = self._places[name]
        meta = place["tensor_meta"]
        dtype = _DTYPES[meta["dtype"]]
        sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
        if path not in self._flat:
            data = self._archive.read(path)
            self._flat[path] = (
                torch.frombuffer(bytearray(data), dtype=dtype).clone() if data else torch.empty(0, dtype=dtype)
            )
        flat = self._flat[path]
        if flat.dtype != dtype or min(sizes, default=0) < 0 or math.prod(sizes) > flat.numel():
            raise GraphError(f"its tensor {name} is larger than its data in the file")
        tensor = flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"])
        # Parameters as in the model, because PyTorch selects kernels by requires_grad, even in inference.
        return torch.nn.Parameter(tensor, meta["requires_grad"]) if place["is_param"] else tensor


def _instruction(node: dict[str, Any]) -> _Instruction:
    """Parse a node of the graph."""
    args = [(given["name"], _argument(given["arg"]), given.get("kind")) for given in node["inputs"]]
    results: list[str | tuple[str, ...]] = [_result(output) for output in node["outputs"]]
    if len(results) == 1:
        (names,) = results
    else:
        names = tuple(str(name) for name in results)
    keyword = 2
    return _Instruction(
        _resolve(node["target"]),
        tuple(value for _, value, kind in args if kind != keyword),
        {name: value for name, value, kind in args if kind == keyword},
        names,
        (),
    )


def _resolve(target: str) -> Callable[..., Any]:
    """Return an operator by its name. Raises GraphError if it is not in the list of allowed ones."""
    if target in _ON_NUMBERS:
        return _ON_NUMBERS[target]
    found = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    if found is None or found[1] not in _ATEN or found[2] not in getattr(torch.ops.aten, found[1]).overloads():
        raise GraphError(f"it calls {target!r}, which frame steps of this version do not call")
    return cast(Callable[..., Any], getattr(getattr(torch.ops.aten, found[1]), found[2]))


def _argument(argument: dict[str, Any]) -> Any:
    """Parse an argument as a plain value, a reference to an earlier result, or a list of these."""
    ((kind, value),) = argument.items()
    if kind in ("as_tensor", "as_optional_tensor"):
        return _Name(value["name"]) if kind == "as_tensor" else _argument(value)
    if kind in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_Name(item["name"]) if kind == "as_tensors" else _argument(item) for item in value]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _argument(value)
    match kind:
        case "as_name":
            return _Name(value)
        case "as_none":
            return None
        case "as_float":
            return float(value)  # infinity is stored as text
        case "as_floats":
            return [float(item) for item in value]
        case "as_int" | "as_bool" | "as_string" | "as_ints" | "as_bools":
            return value
        case "as_scalar_type":
            return _DTYPES[value]
        case "as_memory_format":
            return _MEMORY_FORMATS[value]
        case "as_layout":
            return _LAYOUTS[value]
        case "as_device" if value["type"] == "cpu":
            return torch.device("cpu")
    raise GraphError(f"an argument is of the kind {kind}")


def _result(output: dict[str, Any]) -> str | tuple[str, ...]:
    """Return the name of a result, or the names of the parts of a list."""
    ((kind, value),) = output.items()
    if kind == "as_tensor":
        return str(value["name"])
    if kind == "as_tensors":
        return tuple(str(item["name"]) for item in value)
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return str(value["as_name"])
    raise GraphError(f"a result is of the kind {kind}")


def _fill_in(value: Any, values: dict[str, Any]) -> Any:
    """Replace references by the values of earlier results."""
    if isinstance(value, _Name):
        return values[value.name]
    return [_fill_in(item, values) for item in value] if isinstance(value, list) else value


def _free_early(instructions: Iterable[_Instruction], keep: set[str]) -> list[_Instruction]:
    """Set ``last_uses`` of all instructions, except for the names in ``keep``, so that memory is freed early."""
    used_later = set(keep)
    backwards = []
    for step in reversed(list(instructions)):
        results = (step.results,) if isinstance(step.results, str) else step.results
        names = dict.fromkeys([*results, *_names([*step.args, *step.kwargs.values()])])
        last_uses = tuple(name for name in names if name not in used_later)
        used_later.update(names)
        backwards.append(_Instruction(step.target, step.args, step.kwargs, step.results, last_uses))
    return backwards[::-1]


def _names(values: Iterable[Any]) -> Iterable[str]:
    """Yield the names of all references in arguments."""
    for value in values:
        if isinstance(value, _Name):
            yield value.name
        elif isinstance(value, list):
            yield from _names(value)


def _refuse_expressions(content: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object unchanged. Raises GraphError for an expression of a size that is more than arithmetic."""
    if "expr_str" in content and not _EXPRESSION.fullmatch(content["expr_str"]):
        raise GraphError("the expression of a size is more than arithmetic")
    return content


def _check_samples(data: bytes) -> None:
    """Raise GraphError for a pickle that contains more than tensors. The samples themselves are not used."""
    if data:
        with zipfile.ZipFile(BytesIO(data)) as zipped:
            stored_members(zipped)
        try:
            torch.load(BytesIO(data), weights_only=True)
        except Exception as error:
            raise GraphError("its sample inputs contain more than tensors, so reading them could run code") from error
