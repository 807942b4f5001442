"""String vocabularies that settings, commands and code share, each defined once.

"auto" is a member where callers may leave the choice to the program. The module imports nothing but ``typing``, because
the command line starts with it.
"""

from typing import Literal

Precision = Literal["auto", "32", "tf32", "bf16", "fp16"]
"""Numerical precision of a tracker's network; "32" is exact float32, "auto" is "tf32" on CUDA and "32" elsewhere."""

TrainingPrecision = Literal["32", "bf16", "fp16"]
"""Numerical precision of the network in training; "32" is float32 with PyTorch's settings of TF32."""

GraphMode = Literal["auto", "off"]
"""Use of CUDA graphs by a tracker; "auto" captures the frame step on CUDA."""

DeviceKind = Literal["auto", "cpu", "cuda", "mps"]
"""Kind of device to compute on; "auto" prefers CUDA."""

Kernel = Literal["auto", "reference", "numba", "triton"]
"""Implementation of deformable attention; "auto" takes the fastest one for the device."""

EngineName = Literal["auto", "torch", "onnx", "pt2"]
"""Runtime of the network: "torch" for weights, "onnx" and "pt2" for exported files; "auto" decides by the suffix."""

Channels = Literal["rgb", "bgr"]
"""Order of the colours of a frame; OpenCV reads images as "bgr"."""

Variant = Literal["dab", "deformable-detr"]
"""Variant of the network."""

Norm = Literal["frozen", "batch", "group"]
"""Normalisation of the backbone; "frozen" has constant statistics, for pretrained weights."""

ModelPart = Literal["backbone", "encoder", "decoder"]
"""Part of the network whose activations can be recomputed in the backward pass."""

Protocol = Literal["auto", "mot", "mot15", "mot16", "mot17", "mot20", "bdd100k"]
"""Benchmark whose rules decide what is scored; "auto": by the names of the sequences, else "mot", for own data."""

SubmissionFormat = Literal["dancetrack", "sportsmot", "mot16", "mot17", "mot20", "bdd100k"]
"""Benchmark whose server takes an archive of results."""

Reproduction = Literal["dancetrack-val", "dancetrack-test", "mot17-test", "synthdance-test"]
"""Published result that ``memotr reproduce`` can reproduce."""

Detector = Literal["DPM", "FRCNN", "SDP"]
"""Detector in the name of each of MOT17's three copies of a video."""

DifficultyName = Literal["standard", "easy"]
"""Difficulty of the scenes in SynthDance."""

BenchmarkPart = Literal[
    "operator",
    "frame",
    "outside",
    "track",
    "training",
    "loading",
    "evaluation",
    "roofline",
    "contention",
    "start",
    "ladder",
]
"""Part of ``memotr bench``."""
