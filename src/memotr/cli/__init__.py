"""Command-line commands, which parse arguments and call one function each. Slow imports are inside the commands."""

from memotr.cli import bench, data, evaluate, named_weights, reproduce, score, track, train, weights
from memotr.cli.application import app
from memotr.cli.entry import main

__all__ = [
    "app",
    "bench",
    "data",
    "evaluate",
    "main",
    "named_weights",
    "reproduce",
    "score",
    "track",
    "train",
    "weights",
]
