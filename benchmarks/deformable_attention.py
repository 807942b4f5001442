"""The operator of one attention layer, forward and backward, every kernel in turns.

python benchmarks/deformable_attention.py                      # an encoder layer at 448x800: one query a pixel
python benchmarks/deformable_attention.py --size 800x1422 --threads 1 --dtype bfloat16
python benchmarks/deformable_attention.py --queries 330        # a decoder layer: queries anywhere, larger offsets

"stacked" is the usual grid-sample formulation, which keeps the samples of all levels before it adds them up;
"reference" is ours, which adds level by level.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from memotr.models.kernels import deformable_attention

M, D, P = 8, 32, 4


def stacked(value, shapes, locations, weights):
    """Sample every level, stack, weigh, add: the baseline."""
    B, _, _, _ = value.shape
    Lq, L = weights.shape[1], len(shapes)
    samples = []
    for level, part in enumerate(value.split([H * W for H, W in shapes], dim=1)):  # (B, H*W, M, D)
        maps = part.flatten(2).transpose(1, 2).reshape(B * M, D, *shapes[level])
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # (B*M, Lq, P, 2)
        samples.append(F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    weights = weights.transpose(1, 2).reshape(B * M, 1, Lq, L * P)
    output = (torch.stack(samples, dim=-2).flatten(-2) * weights).sum(-1)  # (B*M, D, Lq)
    return output.view(B, M * D, Lq).transpose(1, 2).contiguous()  # (B, Lq, M*D)


CONTENDERS = {
    "stacked": stacked,
    "reference": lambda *inputs: deformable_attention(*inputs, kernel="reference"),
    "numba": lambda *inputs: deformable_attention(*inputs, kernel="numba"),
}


def levels_of(height, width):
    """The four levels of an image: strides 8, 16 and 32, and a convolution of stride 2."""
    shapes = [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32)]
    return [*shapes, tuple((size + 1) // 2 for size in shapes[-1])]


def layer_inputs(shapes, queries, spread, dtype):
    """Value, shapes, locations and weights of one image.

    Points lie normally around each query's reference, `spread` pixels of their level wide: as trained layers have them.
    """
    S, L = sum(H * W for H, W in shapes), len(shapes)
    if queries:
        reference = torch.rand(queries, 2)  # (Lq, 2)
    else:
        rows = [torch.cartesian_prod((torch.arange(H) + 0.5) / H, (torch.arange(W) + 0.5) / W) for H, W in shapes]
        reference = torch.cat(rows).flip(-1)  # (S, 2), x then y
    size = torch.tensor([(W, H) for H, W in shapes])  # (L, 2)
    offsets = spread * torch.randn(1, len(reference), M, L, P, 2) / size[:, None]
    weights = torch.randn(1, len(reference), M, L * P).softmax(-1).unflatten(-1, (L, P))
    value = torch.randn(1, S, M, D)
    exact = torch.promote_types(dtype, torch.float32)
    return value.to(dtype), shapes, (reference[:, None, None, None] + offsets).to(exact), weights.to(exact)


def forward_seconds(function, inputs):
    with torch.no_grad():
        start = time.perf_counter()
        function(*inputs)
        return time.perf_counter() - start


def backward_seconds(function, inputs):
    value, shapes, locations, weights = inputs
    leaves = [t.detach().requires_grad_() for t in (value, locations, weights)]
    output = function(leaves[0], shapes, *leaves[1:])
    gradient = torch.ones_like(output)
    start = time.perf_counter()
    torch.autograd.grad(output, leaves, gradient)
    return time.perf_counter() - start


def measure(seconds_of, contenders, inputs, rounds):
    """Seconds of every contender, in turns after one warm-up each."""
    seconds = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, function in contenders.items():
            taken = seconds_of(function, inputs)
            if number:
                seconds[name].append(taken)
    return seconds


def largest_difference(inputs):
    """Between the outputs of the kernel and of the reference."""
    with torch.no_grad():
        return (CONTENDERS["numba"](*inputs) - CONTENDERS["reference"](*inputs)).abs().max().item()


def parse_size(text):
    height, width = text.split("x")
    return int(height), int(width)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=(448, 800), help="of the image, HxW")
    parser.add_argument("--queries", type=int, default=0, help="0: one a pixel, at the pixel")
    parser.add_argument("--spread", type=float, default=3.0, help="of the points around their query, pixels")
    parser.add_argument("--dtype", choices=["float32", "float64", "bfloat16", "float16"], default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dtype = getattr(torch, options.dtype)
    # Under autocast values are of half precision but locations and weights are not, which the baseline cannot take.
    contenders = {name: f for name, f in CONTENDERS.items() if name != "stacked" or dtype.itemsize > 2}
    inputs = layer_inputs(levels_of(*options.size), options.queries, options.spread, dtype)
    print(
        f"{options.dtype}, {options.threads} threads, torch {torch.__version__}, levels "
        f"{' '.join(f'{H}x{W}' for H, W in inputs[1])}, {inputs[3].shape[1]} queries; "
        f"numba differs from reference by {largest_difference(inputs):.1e}"
    )
    rows = []
    for direction, seconds_of in (("forward", forward_seconds), ("backward", backward_seconds)):
        seconds = measure(seconds_of, contenders, inputs, options.rounds)
        medians = {name: statistics.median(taken) for name, taken in seconds.items()}
        for name, taken in seconds.items():
            rows.append({"direction": direction, "kernel": name, "seconds": taken, "median": medians[name]})
            ratios = "  ".join(
                f"{medians[other] / medians[name]:6.2f}x {other}" for other in medians if other != "numba"
            )
            print(
                f"{direction:<8}  {name:<9}  {1e3 * medians[name]:8.2f} ms"
                f"  ({1e3 * min(taken):.2f}-{1e3 * max(taken):.2f})  {ratios}"
            )
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "rows": rows}, indent=1, default=str))


if __name__ == "__main__":
    main()
