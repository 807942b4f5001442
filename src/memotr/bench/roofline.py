"""How fast a frame could be: what must be computed and moved, what the machine does at best, and the gap.

Operations are counted in products and convolutions, a multiplication and an addition being two. Bytes are those that
no cache can save, if everything between two of them is computed on the way: each reads its input and its weights and
writes its output once. The floor of a part is the longer of the two times.
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
LAYERS = ("linear1", "linear2", "self_attn.value_proj")  # of the encoder: most of a frame's operations are in such
COPIED = 2**28  # bytes: more than any cache holds


@dataclass(frozen=True)
class Work:
    """What must be done.

    Attributes:
        operations: additions and multiplications.
        bytes: read from memory and written to it.
    """

    operations: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)


@dataclass(frozen=True)
class Ceilings:
    """What a machine does at best.

    Attributes:
        operations: a second, by precision.
        bandwidth: bytes a second that are read or written.
    """

    operations: Mapping[str, float]
    bandwidth: float

    def floor(self, work: Work, precision: str) -> float:
        """Seconds."""
        return max(work.operations / self.operations[precision], work.bytes / self.bandwidth)


def measure(options: Options) -> Iterator[Table]:
    for size in options.sizes:
        ceilings, table = measure_ceilings(options, size)
        yield table
        work = {precision: frame_work(options, size, dtype.itemsize) for precision, dtype in DTYPES.items()}
        where = f"a frame at {size[0]}×{size[1]} with {options.crowd} tracks"
        yield Table(f"What must be done: {where}", _work_rows(work, ceilings))
        yield Table(f"The gap: {where}", _gap_rows(options, size, work, ceilings))


def _work_rows(work: Mapping[str, Mapping[str, Work]], ceilings: Ceilings) -> list[Row]:
    """By part, and their sums."""
    numbers = {
        part: {"GFLOP": of_part.operations / 1e9}
        | {f"MB, {precision}": parts[part].bytes / 1e6 for precision, parts in work.items()}
        | {f"floor ms, {precision}": 1e3 * ceilings.floor(parts[part], precision) for precision, parts in work.items()}
        for part, of_part in work["32"].items()
    }
    numbers["all"] = {column: sum(row[column] for row in numbers.values()) for column in numbers["backbone"]}
    return [{"part": part, **row} for part, row in numbers.items()]


def _gap_rows(options: Options, size: Size, work: Mapping[str, Mapping[str, Work]], ceilings: Ceilings) -> list[Row]:
    ways = (BASELINE, OURS, OURS_BF16)
    _, timed = time_frames(options, size, options.crowd, ways)
    found: list[Row] = []
    for way, each in zip(ways, timed, strict=True):
        floor = sum(ceilings.floor(part, way.precision) for part in work[way.precision].values())
        row: Row = {"contender": way.name, "floor ms": 1e3 * floor, "measured ms": each.spread.times(1e3)}
        found.append(row | {"measured / floor": each.spread.times(1 / floor)})
    return found


def frame_work(options: Options, size: Size, item_size: int) -> dict[str, Work]:
    """What a frame needs, by part of the network; numbers take ``item_size`` bytes. Nothing is computed for it."""
    model = make_model(replace(options, device="meta"), size).set_kernel("reference").requires_grad_(False)
    elements: Counter[str] = Counter()

    def count(part: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.get_parameter("weight")
        elements[part] += inputs[0].numel() + weight.numel() + output.numel()

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            where = f"MeMOTR.{published_name(f'{name}.weight')}"
            part = next((part for part, prefix in PARTS.items() if where.startswith(prefix)), REST)
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
    """That of deformable attention in all layers, but for its linear layers."""
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
    """Of one layer of deformable attention, but for its linear layers.

    A point is a weighted mean of four pixels of dim / heads channels; with the attention weight multiplied into the
    four, that is four multiplications and four additions a channel. What is computed once a point and not once a
    channel (where its pixels are, their weights) is left out. Values are read once, if a cache holds on to them, and
    as many outputs are written as there are queries; places and weights of the points are three float32 numbers each.

    Args:
        queries: number of them.
        pixels: of all levels.
        heads: M.
        points: of a head, in all levels.
        dim: C.
        item_size: bytes of a value.
    """
    sampled = queries * heads * points
    return Work(sampled * 8 * dim // heads, (pixels + queries) * dim * item_size + sampled * 3 * 4)


def measure_ceilings(options: Options, size: Size) -> tuple[Ceilings, Table]:
    """By the linear layers of the encoder as inference has them, and by copying."""
    model = make_model(options, size)
    found: list[Row] = []
    pixels = sum(height * width for height, width in padded_shapes(size, options.config.model.num_levels))
    best: dict[str, float] = {}
    for precision, dtype in DTYPES.items():
        encoder = for_inference(model, dtype).transformer.encoder
        layers = [encoder.get_submodule(f"layers.0.{name}") for name in LAYERS]
        timed = alternate([_product(layer, pixels) for layer in layers], options.rounds, model.device)
        for layer, each in zip(layers, timed, strict=True):
            rate = 2 * pixels * layer.get_parameter("weight").numel() / each.spread.middle
            found.append({"what": each.contender.name, "ms": each.spread.times(1e3), "GFLOP/s or GB/s": rate / 1e9})
            best[precision] = max(rate, best.get(precision, 0))
    source = torch.zeros(COPIED, dtype=torch.uint8, device=model.device)
    copy = Contender(f"copy {COPIED / 1e6:.0f} MB", partial(torch.empty_like(source).copy_, source))
    (timed_copy,) = alternate([copy], options.rounds, model.device)
    bandwidth = 2 * COPIED / timed_copy.spread.middle  # read and written
    found.append({"what": copy.name, "ms": timed_copy.spread.times(1e3), "GFLOP/s or GB/s": bandwidth / 1e9})
    return Ceilings(best, bandwidth), Table(f"What the machine does at best, at {size[0]}×{size[1]}", found)


def _product(layer: nn.Module, pixels: int) -> Contender:
    weight = layer.get_parameter("weight")
    out_channels, in_channels = weight.shape
    x = torch.randn(1, pixels, in_channels).to(weight)
    name = f"{pixels}×{in_channels} by {in_channels}×{out_channels}, {str(weight.dtype).removeprefix('torch.')}"
    return Contender(name, torch.inference_mode()(partial(layer, x)))
