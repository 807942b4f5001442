"""Scores of a tracker whose products round their inputs to TF32, on any device, beside those of exact products.

memotr data synth SynthDance && python benchmarks/tf32_emulated.py SynthDance --split test

TF32 keeps 10 of the 23 bits of a float32 mantissa. GPUs round the inputs of matrix products and convolutions to it and
add up in float32. Here the inputs of every such operation of network and memory are rounded. The order in which a GPU
adds up is not emulated; it differs at "32", too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import memotr

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "convolution", "linear", "attention")
"""Parts of the names of operators whose inputs are rounded."""

METRICS = ("HOTA", "DetA", "AssA", "IDF1")


def rounded(x: Any) -> Any:
    """Return matrices, images and kernels rounded to TF32, anything else as it is: a bias is added in float32."""
    if not isinstance(x, Tensor) or x.dtype != torch.float32 or x.dim() < 2:
        return x
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32).view_as(x)


class Tf32(TorchDispatchMode):
    """Rounds the inputs of products; counts them."""

    products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        if any(part in name for part in PRODUCTS):
            self.products += 1
            kept = 1 if name == "_convolution_pointwise_" else 0  # the residual, which is overwritten
            args = (*args[:kept], *map(rounded, args[kept:]))
        return func(*args, **(kwargs or {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--checkpoint", default="synthdance")
    parser.add_argument("--sequences", nargs="*", default=())
    parser.add_argument("--output", type=Path, default=Path("outputs/tf32"))
    options = parser.parse_args()
    common = {"split": options.split, "sequences": options.sequences, "precision": "32", "device": "cpu"}
    with Tf32() as mode:
        tf32 = memotr.evaluate(options.checkpoint, options.dataset, output=options.output / "tf32", **common)
    exact = memotr.evaluate(options.checkpoint, options.dataset, output=options.output / "32", **common)
    print(f"{mode.products} products with rounded inputs")
    for name, scores in (("tf32", tf32), ("32", exact)):
        print(name, *(f"{metric} {100 * scores.combined[metric]:.2f}" for metric in METRICS), sep="  ")


if __name__ == "__main__":
    main()
