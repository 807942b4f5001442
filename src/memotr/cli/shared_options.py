"""Command-line options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from memotr import vocabulary

Configuration = Annotated[
    str | None,
    typer.Option(
        help="Preset, or YAML file with the configuration.", show_default="stored in the weights or next to them"
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting of the configuration, such as input.short_side=480. Repeatable.",
        show_default="as configured",
    ),
]
Precision = Annotated[
    vocabulary.Precision,
    typer.Option(help="Numerical precision of the network; 32 is exact float32; auto is tf32 on CUDA, else 32."),
]
Graph = Annotated[
    vocabulary.GraphMode, typer.Option(help="auto replays the frame step as a CUDA graph; off runs it eagerly.")
]
Device = Annotated[
    str,
    typer.Option(help=f"Device to compute on: {', '.join(get_args(vocabulary.DeviceKind))}, or one such as cuda:1."),
]
DeviceKind = Annotated[
    vocabulary.DeviceKind, typer.Option("--device", help="Kind of device to compute on; auto prefers CUDA.")
]
Devices = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1000,
        help="Number of processes on this machine, one per device.",
        show_default="all CUDA devices; one on a CPU",
    ),
]
Nodes = Annotated[int | None, typer.Option(min=1, max=10_000, help="Number of machines.", show_default="1")]

Rules = Annotated[
    vocabulary.Protocol,
    typer.Option(
        help="Benchmark whose rules select the scored boxes; auto: by the sequence names; mot: every marked row."
    ),
]
Seqmap = Annotated[
    Path | None,
    typer.Option(help="Text file with the names of the sequences to use.", show_default="<split>_seqmap.txt, or all"),
]
Sequences = Annotated[
    list[str] | None,
    typer.Option(help="Use only sequences with this name or pattern, such as 'MOT17-*-SDP'. Repeatable."),
]
