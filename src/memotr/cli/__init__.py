"""The commands: parse and call, nothing else. Each imports what is heavy only when it runs."""

from memotr.cli import bench, benchmark, data, errors, evaluate, export, track, train, weights
from memotr.cli.application import app
from memotr.cli.entry import main

__all__ = ["app", "bench", "benchmark", "data", "errors", "evaluate", "export", "main", "track", "train", "weights"]
