"""The operator of one attention layer, forward and backward, every kernel in turns.

python benchmarks/deformable_attention.py                      # an encoder layer at 448x800: one query a pixel
python benchmarks/deformable_attention.py --size 800x1422 --threads 1 --dtype bfloat16
python benchmarks/deformable_attention.py --queries 330        # a decoder layer: queries anywhere, larger offsets
python benchmarks/deformable_attention.py --size 800x1422 --device cuda --dtype bfloat16

"stacked" is the usual grid-sample formulation, which keeps the samples of all levels before it adds them up;
"reference" is ours, which adds level by level. On CUDA "per-channel" is the usual fused kernel, one thread for each
output channel, in float32; CUDA C that PyTorch (2.8 or later) compiles at run time.
"""

from __future__ import annotations

import argparse
import functools
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


# Arguments as of the operator, contiguous; shapes (L, 2) int32.
CUDA_SOURCE = r"""
struct Point { float x, y, weight; bool near; };

__device__ Point point_at(const float* locations, const float* weights, int i, int H, int W) {
    float x = locations[2 * i] * W - 0.5f, y = locations[2 * i + 1] * H - 0.5f;
    return {x, y, weights[i], x > -1 && y > -1 && x < W && y < H};
}

extern "C" __global__ void per_channel_forward(
    const float* value, const int* shapes, const float* locations, const float* weights, float* output,
    int total, int S, int Lq, int M, int D, int L, int P) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;  // of (B, Lq, M, D)
    if (index >= total) return;
    int row = index / D;
    const float* map = value + ((long long)(row / M / Lq) * S * M + row % M) * D + index % D;
    float sum = 0;
    for (int l = 0; l < L; ++l) {
        int H = shapes[2 * l], W = shapes[2 * l + 1];
        for (int p = 0; p < P; ++p) {
            Point at = point_at(locations, weights, (row * L + l) * P + p, H, W);
            if (!at.near) continue;
            int top = floorf(at.y), left = floorf(at.x);
            for (int i = top; i <= top + 1; ++i)
                for (int j = left; j <= left + 1; ++j)
                    if (i >= 0 && i < H && j >= 0 && j < W)
                        sum += at.weight * (1 - fabsf(at.y - i)) * (1 - fabsf(at.x - j)) * map[(i * W + j) * M * D];
        }
        map += H * W * M * D;
    }
    output[index] = sum;
}

// A block of D threads, a power of two, for each query and head; they add up a point's gradients in shared memory.
extern "C" __global__ void per_channel_backward(
    const float* grad_output, const float* value, const int* shapes, const float* locations, const float* weights,
    float* grad_value, float* grad_locations, float* grad_weights, int S, int Lq, int M, int D, int L, int P) {
    extern __shared__ float parts[];  // (3, D)
    int row = blockIdx.x, channel = threadIdx.x;
    long long start = ((long long)(row / M / Lq) * S * M + row % M) * D + channel;
    float gradient = grad_output[row * D + channel];
    for (int l = 0; l < L; ++l) {
        int H = shapes[2 * l], W = shapes[2 * l + 1];
        for (int p = 0; p < P; ++p) {
            int index = (row * L + l) * P + p;
            Point at = point_at(locations, weights, index, H, W);
            float by_x = 0, by_y = 0, by_weight = 0;
            if (at.near) {
                int top = floorf(at.y), left = floorf(at.x);
                for (int i = top; i <= top + 1; ++i)
                    for (int j = left; j <= left + 1; ++j)
                        if (i >= 0 && i < H && j >= 0 && j < W) {
                            long long pixel = start + (long long)(i * W + j) * M * D;
                            float on_y = 1 - fabsf(at.y - i), on_x = 1 - fabsf(at.x - j);
                            float product = gradient * value[pixel];
                            by_weight += on_y * on_x * product;
                            by_x += (j > left ? W : -W) * at.weight * on_y * product;
                            by_y += (i > top ? H : -H) * at.weight * on_x * product;
                            atomicAdd(grad_value + pixel, at.weight * on_y * on_x * gradient);
                        }
            }
            parts[channel] = by_x; parts[D + channel] = by_y; parts[2 * D + channel] = by_weight;
            __syncthreads();
            for (int half = D / 2; half; half /= 2) {
                if (channel < half)
                    for (int k = 0; k < 3; ++k) parts[k * D + channel] += parts[k * D + channel + half];
                __syncthreads();
            }
            if (channel == 0) {
                grad_locations[2 * index] = parts[0]; grad_locations[2 * index + 1] = parts[D];
                grad_weights[index] = parts[2 * D];
            }
            __syncthreads();
        }
        start += (long long)H * W * M * D;
    }
}
"""


@functools.cache
def cuda_kernel(name):
    return torch.cuda._compile_kernel(CUDA_SOURCE, name)


class PerChannel(torch.autograd.Function):
    """The kernels above as a differentiable function."""

    @staticmethod
    def forward(ctx, value, shapes, locations, weights):
        (B, S, M, D), (_, Lq, _, L, P) = value.shape, weights.shape
        ctx.save_for_backward(value, shapes, locations, weights)
        output = value.new_empty(B, Lq, M * D)
        total = output.numel()
        args = [value, shapes, locations, weights, output, total, S, Lq, M, D, L, P]
        cuda_kernel("per_channel_forward")((-(-total // 256), 1, 1), (256, 1, 1), args)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        inputs = ctx.saved_tensors
        value, _, locations, weights = inputs
        (B, S, M, D), (_, Lq, _, L, P) = value.shape, weights.shape
        results = [torch.zeros_like(value), torch.empty_like(locations), torch.empty_like(weights)]
        args = [grad_output.contiguous(), *inputs, *results, S, Lq, M, D, L, P]
        cuda_kernel("per_channel_backward")((B * Lq * M, 1, 1), (D, 1, 1), args, shared_mem=12 * D)
        return results[0], None, *results[1:]


@functools.cache
def shapes_on_device(shapes):
    return torch.tensor(shapes, dtype=torch.int32, device="cuda")


def per_channel(value, shapes, locations, weights):
    exact, points, amounts = (t.float().contiguous() for t in (value, locations, weights))
    return PerChannel.apply(exact, shapes_on_device(tuple(shapes)), points, amounts).to(value.dtype)


def contenders_on(device, dtype):
    """By name, the one to be judged last."""
    # Under autocast values are of half precision but locations and weights are not, which the baseline cannot take.
    contenders = {"stacked": stacked} if dtype.itemsize > 2 else {}
    contenders["reference"] = lambda *inputs: deformable_attention(*inputs, kernel="reference")
    if device == "cuda" and hasattr(torch.cuda, "_compile_kernel"):
        contenders["per-channel"] = per_channel
    ours = {"cpu": "numba", "cuda": "triton"}[device]
    return contenders | {ours: lambda *inputs: deformable_attention(*inputs, kernel=ours)}


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


def seconds_for(function, device):
    """How long a call takes, on a GPU until the last of its kernels has ended."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        function()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def forward_seconds(function, inputs):
    with torch.no_grad():
        return seconds_for(lambda: function(*inputs), inputs[0].device)


def backward_seconds(function, inputs):
    value, shapes, locations, weights = inputs
    leaves = [t.detach().requires_grad_() for t in (value, locations, weights)]
    output = function(leaves[0], shapes, *leaves[1:])
    gradient = torch.ones_like(output)
    return seconds_for(lambda: torch.autograd.grad(output, leaves, gradient), value.device)


def measure(seconds_of, contenders, inputs, rounds):
    """Seconds of every contender, in turns after one warm-up each."""
    seconds = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, function in contenders.items():
            taken = seconds_of(function, inputs)
            if number:
                seconds[name].append(taken)
    return seconds


def largest_differences(contenders, inputs):
    """Between the outputs of the contenders and of the reference."""
    with torch.no_grad():
        outputs = {name: function(*inputs) for name, function in contenders.items()}
    return {name: (output - outputs["reference"]).abs().max().item() for name, output in outputs.items()}


def parse_size(text):
    height, width = text.split("x")
    return int(height), int(width)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=(448, 800), help="of the image, HxW")
    parser.add_argument("--queries", type=int, default=0, help="0: one a pixel, at the pixel")
    parser.add_argument("--spread", type=float, default=3.0, help="of the points around their query, pixels")
    parser.add_argument("--dtype", choices=["float32", "float64", "bfloat16", "float16"], default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dtype = getattr(torch, options.dtype)
    contenders = contenders_on(options.device, dtype)
    *_, ours = contenders
    inputs = [
        t.to(options.device) if isinstance(t, torch.Tensor) else t
        for t in layer_inputs(levels_of(*options.size), options.queries, options.spread, dtype)
    ]
    place = torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} threads"
    differences = largest_differences(contenders, inputs)
    print(
        f"{options.dtype}, {place}, torch {torch.__version__}, levels {' '.join(f'{H}x{W}' for H, W in inputs[1])}, "
        f"{inputs[3].shape[1]} queries; largest difference from reference: "
        + ", ".join(f"{name} {worst:.1e}" for name, worst in differences.items() if name != "reference")
    )
    rows = []
    for direction, seconds_of in (("forward", forward_seconds), ("backward", backward_seconds)):
        seconds = measure(seconds_of, contenders, inputs, options.rounds)
        medians = {name: statistics.median(taken) for name, taken in seconds.items()}
        for name, taken in seconds.items():
            rows.append({"direction": direction, "kernel": name, "seconds": taken, "median": medians[name]})
            ratios = "  ".join(f"{medians[other] / medians[name]:6.2f}x {other}" for other in medians if other != ours)
            print(
                f"{direction:<8}  {name:<11}  {1e3 * medians[name]:8.2f} ms"
                f"  ({1e3 * min(taken):.2f}-{1e3 * max(taken):.2f})  {ratios}"
            )
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "rows": rows}, indent=1, default=str))


if __name__ == "__main__":
    main()
