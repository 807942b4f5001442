"""The command `memotr reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memotr.cli.application import app, importing
from memotr.cli.evaluate import Batch, report_resumable
from memotr.cli.shared_options import DeviceKind, Devices, Nodes, Precision
from memotr.terminal import say
from memotr.vocabulary import Reproduction


@app.command("reproduce")
def reproduce_result(
    target: Annotated[Reproduction, typer.Argument(help="Published result to reproduce, named by data set and split.")],
    *,
    dataset: Annotated[Path, typer.Option(help="Folder of the data set.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the results and the JSON record.", show_default="outputs/reproduce/TARGET"),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept fewer sequences than the split has, for a trial.")
    ] = False,
    precision: Precision = "32",
    batch: Batch = 1,
    device: DeviceKind = "auto",
    devices: Devices = None,
    num_nodes: Nodes = None,
) -> None:
    """Reproduce a published result with the published weights and settings, and write a JSON record of it.

    The weights are fetched by name and checked. Results of a split with ground truth are scored; those of a test
    split are packed for the benchmark's server. TARGET.json in the output folder contains hashes of weights and data,
    versions, device, scores and the published values. Repeat the command to continue an interrupted run.
    """
    with importing():
        from memotr.reproduce import reproduce
        from memotr.training.devices import leave_process_group, make_fabric

    folder = output or Path("outputs", "reproduce", target)
    with report_resumable():
        fabric = make_fabric(device, devices, num_nodes)
        result = reproduce(target, dataset, folder, fabric, precision=precision, batch=batch, partial=partial)
        leave_process_group()
    if result is None:
        return
    file, record = result
    published = record["published"]
    for metric, value in record.get("scores", {}).items():
        shown = f"{value:.1f}" if isinstance(value, float) else f"{value:,}"
        say(f"{metric:>6} {shown:>8}" + (f"   published {published[metric]}" if metric in published else ""))
    if "archive" in record:
        expected = ", ".join(f"{metric} {value}" for metric, value in published.items()) or "nothing"
        say(f"wrote {folder / record['archive']['file']} for the server; published: {expected}")
    say(f"wrote {file}")
