"""Frame step that is captured once and replayed for every frame, as a CUDA graph.

A replay replaces about nine hundred kernel launches. It reads and writes the memory of the capture, so inputs are
copied into static tensors before a replay, and outputs are copied from static tensors before the next one.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from memotr.errors import warn
from memotr.models.memotr import MeMOTR
from memotr.structures import ImageBatch, TrackState
from memotr.tracking.slots import FIELDS, SlotStep

MAX_GRAPHS = 8  # of a tracker, by sizes of frames and slots; the least recently used one is dropped

Outputs = tuple[Tensor, ...]


class Capture(Protocol):
    """Interface to capture functions, whose operations are then replayed on the same memory."""

    def turn(self) -> AbstractContextManager[None]:
        """Exclude other captures and replays, which share memory, on the host and on the device, within the context."""

    def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], object], Outputs]:
        """Capture a function that has already run with inputs of these sizes. Call it within :meth:`turn`.

        Returns:
            A function that replays it, and its outputs, which each replay overwrites.

        Raises:
            RuntimeError: the function cannot be captured.
        """


class CudaCapture:
    """Capture of CUDA graphs, which share one pool of memory and the stream that they are captured on.

    Nothing else runs on that stream, so that cuBLAS allocates its workspace for it in the pool. Inductor frees the
    workspaces of all streams when it captures; replays would then write to memory that others have taken since.

    Args:
        device: CUDA device.
    """

    _one_at_a_time = threading.Lock()  # in a process, on all devices

    def __init__(self, device: torch.device) -> None:
        self._device, self._lock = device, threading.Lock()
        self._warm_up, self._stream = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self._done = torch.cuda.Event()
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()  # those in the pool

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Exclude other threads, which may use other streams of the device, within the context."""
        with self._lock, torch.cuda.device(self._device):
            stream = torch.cuda.current_stream()
            stream.wait_event(self._done)
            try:
                yield
            finally:
                self._done.record(stream)

    def record(self, function: Callable[[], Outputs]) -> tuple[Callable[[], object], Outputs]:
        """Capture a function as a CUDA graph. Other threads may allocate and copy memory meanwhile."""
        graphs = list(self._graphs)
        if graphs:
            pool = graphs[0].pool()
        else:  # a pool is freed with its last graph
            pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(self._device)
        current = torch.cuda.current_stream()
        self._warm_up.wait_stream(current)
        with torch.cuda.stream(self._warm_up):
            function()  # libraries compile, load and choose their kernels
        current.wait_stream(self._warm_up)
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                self._one_at_a_time,
                torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                outputs = function()
        except BaseException:
            torch.cuda.set_stream(current)  # PyTorch does not restore it after a failure
            self._graphs.clear()  # later captures take another pool
            _close(self._device, pool)
            raise
        self._graphs.add(graph)
        return graph.replay, outputs


def _close(device: torch.device, pool: tuple[int, int]) -> None:
    """End a failed capture for PyTorch's allocator: version 2.11 leaves it open.

    The allocator would then free no cached memory any more, and refuse other captures in the pool.
    """
    with suppress(RuntimeError, AttributeError):  # later versions have ended it; the functions are private
        torch._C._cuda_endAllocateToPool(device.index, pool)
        torch._C._cuda_releasePool(device.index, pool)


@functools.cache
def capture_on(device: torch.device) -> Capture | None:
    """Return the capture of a device, shared by all trackers on it; None if the device does not support graphs."""
    return CudaCapture(device) if device.type == "cuda" else None


@dataclass(frozen=True, eq=False)
class _Graph:
    """Captured step of one size.

    Attributes:
        inputs: static tensors that a replay reads: pixels, mask, vacant, next_id and the fields of the slots.
        outputs: static tensors that a replay writes.
        replay: function that replays the graph.
        layouts: level layouts that the graph reads, kept alive here.
    """

    inputs: tuple[Tensor, ...]
    outputs: Outputs
    replay: Callable[[], object]
    layouts: object


class GraphedStep:
    """Frame step that is captured for a size of frames and slots as soon as two consecutive frames have that size.

    Other frames run eagerly, so that a folder of images of many sizes does not cause a capture for each. After a failed
    capture, no other is tried, and all frames run eagerly.

    Args:
        step: the step.
        network: the network of the step.
        capture: captures the step.
    """

    def __init__(self, step: SlotStep, network: MeMOTR, capture: Capture) -> None:
        self._step, self._network, self._capture = step, network, capture
        self._graphs: OrderedDict[object, _Graph] = OrderedDict()
        self._weights = [*network.parameters(), *network.buffers()]
        self._addresses: list[int] = []
        self._last: object = None
        self._failed = False

    def __call__(self, images: ImageBatch, vacant: Tensor, next_id: Tensor, slots: TrackState) -> Outputs:
        """Run :meth:`memotr.tracking.slots.SlotStep.forward`."""
        key = (images.pixels.shape, images.sizes, len(slots))
        repeated, self._last = key == self._last, key
        addresses = [tensor.data_ptr() for tensor in self._weights]
        if addresses != self._addresses:  # the network was moved or converted
            self._graphs.clear()
            self._addresses = addresses
        inputs = (images.pixels, images.mask, vacant, next_id, *(getattr(slots, name) for name in FIELDS))
        if key in self._graphs or (repeated and not self._failed):
            with self._capture.turn():
                graph = self._graphs.get(key) or self._record(key, images.sizes, inputs)
                if graph is not None:
                    self._graphs.move_to_end(key)
                    for static, given in zip(graph.inputs, inputs, strict=True):
                        static.copy_(given)
                    graph.replay()
                    return tuple(output.clone() for output in graph.outputs)
        return self._run(images.sizes, inputs)

    def _run(self, sizes: tuple[tuple[int, int], ...] | None, inputs: tuple[Tensor, ...]) -> Outputs:
        pixels, mask, vacant, next_id, *rows = inputs
        outputs: Outputs = self._step(ImageBatch(pixels, mask, sizes), vacant, next_id, TrackState(*rows))
        return outputs

    def _record(
        self, key: object, sizes: tuple[tuple[int, int], ...] | None, inputs: tuple[Tensor, ...]
    ) -> _Graph | None:
        """Capture the step and keep its graph; None if it cannot be captured."""
        while len(self._graphs) >= MAX_GRAPHS:
            self._graphs.popitem(last=False)
        static = tuple(tensor.clone() for tensor in inputs)
        # Before the capture, because it may copy from the host.
        self._network.prepare_layout(ImageBatch(static[0], static[1], sizes))
        try:
            replay, outputs = self._capture.record(lambda: self._run(sizes, static))
        except RuntimeError as error:  # PyTorch documents no class for it
            self._failed = True
            cause = error.__context__ or error  # ending a capture that broke off is an error, too
            reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
            warn(f"the frame step cannot be captured as a CUDA graph ({reason}); frames run eagerly")
            return None
        self._graphs[key] = _Graph(static, outputs, replay, dict(self._network.layouts or {}))
        return self._graphs[key]
