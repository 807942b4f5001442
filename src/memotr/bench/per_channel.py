"""Deformable attention on CUDA as in research code: one thread per output channel, in float32.

The Triton kernels are compared with it. PyTorch (2.8 or later) compiles its CUDA C at run time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# Arguments as in memotr.models.kernels, contiguous; shapes are (L, 2) int32.
SOURCE = r"""
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
            #pragma unroll
            for (int corner = 0; corner < 4; ++corner) {  // unrolled, four loads are under way at once
                int i = top + corner / 2, j = left + corner % 2;
                float pixel = i >= 0 && i < H && j >= 0 && j < W ? map[(i * W + j) * M * D] : 0.f;
                sum += at.weight * (1 - fabsf(at.y - i)) * (1 - fabsf(at.x - j)) * pixel;
            }
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
                #pragma unroll
                for (int corner = 0; corner < 4; ++corner) {
                    int i = top + corner / 2, j = left + corner % 2;
                    bool there = i >= 0 && i < H && j >= 0 && j < W;
                    long long pixel = start + (long long)(i * W + j) * M * D;
                    float on_y = 1 - fabsf(at.y - i), on_x = 1 - fabsf(at.x - j);
                    float product = there ? gradient * value[pixel] : 0.f;
                    by_weight += on_y * on_x * product;
                    by_x += (j > left ? W : -W) * at.weight * on_y * product;
                    by_y += (i > top ? H : -H) * at.weight * on_x * product;
                    if (there) atomicAdd(grad_value + pixel, at.weight * on_y * on_x * gradient);
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
def available() -> bool:
    """Return whether PyTorch can compile CUDA C on this machine, which may need files of a CUDA toolkit."""
    if not torch.cuda.is_available() or not hasattr(torch.cuda, "_compile_kernel"):
        return False
    try:
        for name in ("per_channel_forward", "per_channel_backward"):
            _kernel(name)
    except (OSError, RuntimeError):
        return False
    return True


def per_channel_attention(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Compute :func:`memotr.models.kernels.deformable_attention` for tensors on CUDA; D must be a power of two."""
    exact, points, point_weights = (t.float().contiguous() for t in (value, locations, weights))
    on_device = _on_device(tuple(shapes), value.device)
    output: Tensor = _PerChannel.apply(exact, on_device, points, point_weights)  # type: ignore[no-untyped-call]
    return output.to(value.dtype)


class _PerChannel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        (_, S, M, D), (B, Lq, _, L, P) = value.shape, weights.shape
        ctx.save_for_backward(value, shapes, locations, weights)
        output = value.new_empty(B, Lq, M * D)
        total = output.numel()
        arguments = [value, shapes, locations, weights, output, total, S, Lq, M, D, L, P]
        _kernel("per_channel_forward")((-(-total // 256), 1, 1), (256, 1, 1), arguments)
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        inputs = ctx.saved_tensors
        value, _, locations, weights = inputs
        (_, S, M, D), (B, Lq, _, L, P) = value.shape, weights.shape
        grads = torch.zeros_like(value), torch.empty_like(locations), torch.empty_like(weights)
        arguments = [grad_output.contiguous(), *inputs, *grads, S, Lq, M, D, L, P]
        _kernel("per_channel_backward")((B * Lq * M, 1, 1), (D, 1, 1), arguments, shared_mem=12 * D)
        return grads[0], None, grads[1], grads[2]


@functools.cache
def _kernel(name: str) -> Callable[..., None]:
    compiled: Callable[..., None] = torch.cuda._compile_kernel(SOURCE, name)  # private: PyTorch has no public function
    return compiled


@functools.cache
def _on_device(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    return torch.tensor(shapes, dtype=torch.int32, device=device)
