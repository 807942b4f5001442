"""Deterministic weights and inputs that follow from their names alone."""

from __future__ import annotations

import zlib

import numpy as np


def tensor(name, shape, seed=0):
    """Standard-normal float32 array that depends on name, shape and seed only."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()) + 1_000_003 * seed))
    return rng.standard_normal(tuple(shape)).astype(np.float32)


def weight(name, shape, seed=0):
    """Value of one parameter or buffer, by the name that it has in the published state dict."""
    x = tensor(name, shape, seed)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return 1.0 + 0.1 * np.abs(x)
    if leaf == "running_mean":
        return 0.1 * x
    if name in ("det_anchor", "det_query_embed", "transformer.level_embed"):
        return x
    if "sampling_offsets" in name:
        return (2.0 * x if leaf == "bias" else x / np.sqrt(shape[1])).astype(np.float32)
    if name.startswith("class_embed") and leaf == "weight":
        return (4.0 * x / np.sqrt(shape[1])).astype(np.float32)
    if x.ndim >= 2:
        gain = np.sqrt(2.0) if name.startswith("backbone") else 1.0
        return (gain * x / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    if leaf == "weight":  # scale of a normalisation; small for the last one of a residual block
        return ((0.2 if name.endswith("bn3.weight") else 1.0) * (1.0 + 0.1 * x)).astype(np.float32)
    return (0.1 * x).astype(np.float32)
