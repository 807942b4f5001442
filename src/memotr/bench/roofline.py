"""Roofline of a frame: its operations and memory traffic, the machine's limits, and the measured time above the bound.

Operations are those of matrix products and convolutions; a multiplication and an addition count as two. Bytes are the
least memory traffic: each of these layers reads its input and its weights and writes its output once, and everything
between two layers is computed without memory traffic. The lower bound of a part's time is the larger of operations /
(operations per second) and bytes / (bytes per second).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from memotr.bench.frame import BASELINE, OURS, OURS_BF16, time_frames
from memotr.bench.measure import Contender, Row, alternate
from memotr.bench.operator import padded_shapes
from memotr.bench.options import Options, Size
from memotr.bench.report import Table
from memotr.bench.scene import make_crowd, make_model
from memotr.config import ModelConfig
from memotr.models.inference import for_inference
from memotr.structures import ImageBatch
from memotr.weights.published_names import published_name

PARTS = {
    "backbone": "MeMOTR.backbone",
    "encoder": "MeMOTR.transformer.encoder",
    "decoder": "MeMOTR.transformer.decoder",
    "memory": "MeMOTR.query_updater",
}
REST = "projections, class head"
DTYPES = {"32": torch.float32, "bf16": torch.bfloat16}
LAYERS = ("linear1", "linear2", "self_attn.value_proj")
"""Layers of the encoder that are timed to measure the machine; most operations of a frame are in such layers."""
COPIED = 2**28
"""Bytes that are copied to measure the bandwidth, more than any cache holds."""


@dataclass(frozen=True)
class Work:
    """Operations and memory traffic.

    Attributes:
        operations: number of additions and multiplications.
        bytes: number of bytes read from memory and written to it.
    """

    operations: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)


@dataclass(frozen=True)
class Ceilings:
    """Limits of a machine.

    Attributes:
        operations: precision → operations per second.
        bandwidth: bytes per second that are read or written.
    """

    operations: Mapping[str, float]
    bandwidth: float

    def lower_bound(self, work: Work, precision: str) -> float:
        """Return the lower bound of the time in seconds."""
        return max(work.operations / self.operations[precision], work.bytes / self.bandwidth)


def measure(options: Options) -> Iterator[Table]:
    """Yield three tables for each size: limits of the machine, work of a frame, and measured times."""
    for size in options.sizes:
        ceilings, table = measure_ceilings(options, size)
        yield table
        work = {precision: frame_work(options, size, dtype.itemsize) for precision, dtype in DTYPES.items()}
        frame = f"a frame at {size[0]}×{size[1]} with {options.crowd} tracks"
        yield Table(f"Least work of {frame}", _work_rows(work, ceilings))
        yield Table(f"Measured time and lower bound of {frame}", _time_rows(options, size, work, ceilings))


def _work_rows(work: Mapping[str, Mapping[str, Work]], ceilings: Ceilings) -> list[Row]:
    """Return a row for each part of the network, and one for their sum; ``work`` is precision → part → work."""
    numbers = {
        part: {"GFLOP": of_part.operations / 1e9}
        | {f"MB, {precision}": parts[part].bytes / 1e6 for precision, parts in work.items()}
        | {
            f"bound ms, {precision}": 1e3 * ceilings.lower_bound(parts[part], precision)
            for precision, parts in work.items()
        }
        for part, of_part in work["32"].items()
    }
    numbers["all"] = {column: sum(row[column] for row in numbers.values()) for column in numbers["backbone"]}
    return [{"part": part, **row} for part, row in numbers.items()]


def _time_rows(options: Options, size: Size, work: Mapping[str, Mapping[str, Work]], ceilings: Ceilings) -> list[Row]:
    """Time frames and return a row for each setup with the lower bound and the measured time."""
    setups = (BASELINE, OURS, OURS_BF16)
    _, timed = time_frames(options, size, options.crowd, setups)
    table: list[Row] = []
    for setup, each in zip(setups, timed, strict=True):
        bound = sum(ceilings.lower_bound(part, setup.precision) for part in work[setup.precision].values())
        row: Row = {"contender": setup.name, "bound ms": 1e3 * bound, "measured ms": each.spread.times(1e3)}
        table.append(row | {"measured / bound": each.spread.times(1 / bound)})
    return table


def frame_work(options: Options, size: Size, item_size: int) -> dict[str, Work]:
    """Return part of the network → work of a frame. Nothing is computed: the model is on the meta device.

    Args:
        options: settings of the benchmark.
        size: size of the network's input.
        item_size: bytes per number.
    """
    model = make_model(replace(options, device="meta"), size).set_kernel("reference").requires_grad_(False)
    elements: Counter[str] = Counter()

    def count(part: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.get_parameter("weight")
        elements[part] += inputs[0].numel() + weight.numel() + output.numel()

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            published = f"MeMOTR.{published_name(f'{name}.weight')}"
            part = next((part for part, prefix in PARTS.items() if published.startswith(prefix)), REST)
            module.register_forward_hook(partial(count, part))
    images = ImageBatch.from_images([torch.zeros(3, *size)]).to("meta")
    crowd = make_crowd(model, options.crowd)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images, [crowd])
        model.memory(crowd)
    counts = counter.get_flop_counts()
    operations = {part: sum(counts[prefix].values()) for part, prefix in PARTS.items()}
    operations[REST] = counter.get_total_flops() - sum(operations.values())
    work = {part: Work(number, item_size * elements[part]) for part, number in operations.items()}
    return work | sampling_work(options.config.model, size, options.crowd, item_size)


def sampling_work(c: ModelConfig, size: Size, tracks: int, item_size: int) -> dict[str, Work]:
    """Return the work of deformable attention in all layers of encoder and decoder, without its linear layers."""
    pixels = sum(height * width for height, width in padded_shapes(size, c.num_levels))
    encoder = attention_work(pixels, pixels, c.num_heads, c.num_levels * c.num_encoder_points, c.hidden_dim, item_size)
    decoder = [
        attention_work(
            c.num_queries + (tracks if layer >= c.merge_layer else 0),
            pixels,
            c.num_heads,
            c.num_levels * c.num_decoder_points,
            c.hidden_dim,
            item_size,
        )
        for layer in range(c.num_decoder_layers)
    ]
    return {
        "encoder, sampling": sum([encoder] * c.num_encoder_layers, Work(0, 0)),
        "decoder, sampling": sum(decoder, Work(0, 0)),
    }


def attention_work(queries: int, pixels: int, heads: int, points: int, dim: int, item_size: int) -> Work:
    """Return the work of one layer of deformable attention, without its linear layers.

    A point is a weighted mean of four pixels of dim / heads channels. With the attention weight multiplied into the
    four weights, that is four multiplications and four additions per channel. Operations that are needed once per point
    and not per channel (positions and weights of its pixels) are not counted. Values are read once, because a cache can
    hold them, and one output is written per query; location and weight of a point are three float32 numbers.

    Args:
        queries: number of queries.
        pixels: number of pixels of all levels.
        heads: M.
        points: number of points per head, in all levels.
        dim: C.
        item_size: bytes per value.
    """
    sampled = queries * heads * points
    return Work(sampled * 8 * dim // heads, (pixels + queries) * dim * item_size + sampled * 3 * 4)


def measure_ceilings(options: Options, size: Size) -> tuple[Ceilings, Table]:
    """Measure the machine's limits by the encoder's linear layers, prepared for inference, and by copying memory."""
    model = make_model(options, size)
    table: list[Row] = []
    pixels = sum(height * width for height, width in padded_shapes(size, options.config.model.num_levels))
    best: dict[str, float] = {}
    for precision, dtype in DTYPES.items():
        encoder = for_inference(model, dtype).transformer.encoder
        layers = [encoder.get_submodule(f"layers.0.{name}") for name in LAYERS]
        timed = alternate([_product(layer, pixels) for layer in layers], options.rounds, model.device)
        for layer, each in zip(layers, timed, strict=True):
            rate = 2 * pixels * layer.get_parameter("weight").numel() / each.spread.middle
            table.append(
                {"operation": each.contender.name, "ms": each.spread.times(1e3), "GFLOP/s or GB/s": rate / 1e9}
            )
            best[precision] = max(rate, best.get(precision, 0))
    source = torch.zeros(COPIED, dtype=torch.uint8, device=model.device)
    copy = Contender(f"copy {COPIED / 1e6:.0f} MB", partial(torch.empty_like(source).copy_, source))
    (timed_copy,) = alternate([copy], options.rounds, model.device)
    bandwidth = 2 * COPIED / timed_copy.spread.middle  # read and written
    table.append({"operation": copy.name, "ms": timed_copy.spread.times(1e3), "GFLOP/s or GB/s": bandwidth / 1e9})
    return Ceilings(best, bandwidth), Table(f"Limits of the machine at {size[0]}×{size[1]}", table)


def _product(layer: nn.Module, pixels: int) -> Contender:
    """Return a contender that applies a linear layer to random features of all pixels."""
    weight = layer.get_parameter("weight")
    out_channels, in_channels = weight.shape
    x = torch.randn(1, pixels, in_channels).to(weight)
    name = f"{pixels}×{in_channels} by {in_channels}×{out_channels}, {str(weight.dtype).removeprefix('torch.')}"
    return Contender(name, torch.inference_mode()(partial(layer, x)))
