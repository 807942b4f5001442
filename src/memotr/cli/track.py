"""A source through the tracker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from memotr.cli.application import MOST_FRAMES, app
from memotr.signals import interrupt_on_signals

THE_CHECKPOINTS = "the checkpoint's"


@app.command()
def track(
    sources: Annotated[
        list[str],
        typer.Argument(help="Videos, image folders, MOT sequence folders, camera numbers, rtsp/http addresses."),
    ],
    checkpoint: Annotated[
        str, typer.Option(help="Weights file (the authors' or ours), name of a preset, or what `memotr export` wrote.")
    ],
    config: Annotated[
        str | None, typer.Option(help="Preset or YAML file, if it is not found with the weights.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for <source name>.mp4, .txt and .jsonl.")] = Path("outputs"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[Literal["32", "bf16", "fp16"], typer.Option(help="Of the heavy arithmetic.")] = "32",
    kernel: Annotated[
        Literal["auto", "reference", "numba", "triton"], typer.Option(help="Operator behind deformable attention.")
    ] = "auto",
    engine: Annotated[
        Literal["auto", "torch", "onnx", "pt2"],
        typer.Option(help="What runs the network; auto goes by the checkpoint's ending."),
    ] = "auto",
    det_thresh: Annotated[
        float | None, typer.Option(help="Score from which a detection begins a track.", show_default=THE_CHECKPOINTS)
    ] = None,
    track_thresh: Annotated[
        float | None, typer.Option(help="Score below which a track counts as unseen.", show_default=THE_CHECKPOINTS)
    ] = None,
    result_thresh: Annotated[
        float | None, typer.Option(help="Score above which a track is reported.", show_default=THE_CHECKPOINTS)
    ] = None,
    miss_tolerance: Annotated[
        int | None, typer.Option(help="Frames unseen after which a track ends.", show_default=THE_CHECKPOINTS)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting, as key=value: input.short_side=480, tracking.min_area=0. Repeatable."),
    ] = None,
    start: Annotated[int, typer.Option(max=MOST_FRAMES, help="First frame, counted from 0.")] = 0,
    end: Annotated[
        int | None, typer.Option(max=MOST_FRAMES, help="First frame left out.", show_default="the source's end")
    ] = None,
    stride: Annotated[int, typer.Option(max=MOST_FRAMES, help="Take every n-th frame.")] = 1,
    max_frames: Annotated[
        int | None, typer.Option(max=MOST_FRAMES, help="Stop after so many frames.", show_default="all")
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="How many sources to track at once, their frames through the network together."
        ),
    ] = 1,
    compile: Annotated[
        bool,
        typer.Option("--compile", help="Compile the step for the frames' size (CUDA graphs on a GPU): begins late."),
    ] = False,
    preprocess_on_device: Annotated[
        bool,
        typer.Option("--preprocess-on-device", help="Resize frames on the GPU: quicker, and not to the same bits."),
    ] = False,
    no_video: Annotated[bool, typer.Option("--no-video", help="Write no annotated video.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without images that cannot be read.")] = False,
) -> None:
    """Track the objects of videos: annotated video, MOTChallenge text and JSON lines of each.

    Frame numbers in the results are those of the source, also with --start and --stride. Ctrl-C ends a run early and
    leaves complete files of all frames so far. A stream that breaks off does the same, and the exit code is 1.
    """
    # Heavy, and needed by this command only.
    from memotr.errors import UserError
    from memotr.export.engines import choose_engine, open_engine
    from memotr.export.tracker import ExportedTracker
    from memotr.io.outputs import check_outputs, open_outputs
    from memotr.io.sources import open_source
    from memotr.tracking.compiled import CompiledTracker
    from memotr.tracking.run import FrameTracker
    from memotr.tracking.sources import check_sources, track_sources
    from memotr.tracking.tracker import Tracker
    from memotr.weights.tracker import load_model

    open_one = partial(open_source, start=start, end=end, stride=stride, max_frames=max_frames, skip_bad=skip_bad)
    check_outputs(output, check_sources(sources, open_one))
    thresholds = {
        "det_thresh": det_thresh,
        "track_thresh": track_thresh,
        "result_thresh": result_thresh,
    }
    tracker: FrameTracker
    if choose_engine(checkpoint, engine) == "torch":
        model = load_model(checkpoint, config=config, settings=settings or (), device=device, kernel=kernel)
        if compile and batch > 1:
            raise UserError("a compiled step takes one frame at a time: leave out --compile, or --batch")
        made: Callable[..., FrameTracker] = CompiledTracker if compile else Tracker
        tracker = made(
            model,
            **thresholds,
            miss_tolerance=miss_tolerance,
            precision=precision,
            preprocess_on_device=preprocess_on_device,
        )
    else:
        given = {
            "--config": config is not None,
            "--set": bool(settings),
            "--precision": precision != "32",
            "--kernel": kernel != "auto",
            "--compile": compile,
            "--preprocess-on-device": preprocess_on_device,
            "--batch": batch > 1,
        }
        if settled := [option for option, is_given in given.items() if is_given]:
            raise UserError(f"{checkpoint}: is an export, in which this is settled: leave out {', '.join(settled)}")
        tracker = ExportedTracker(open_engine(checkpoint, device), **thresholds, miss_tolerance=miss_tolerance)
    try:
        with interrupt_on_signals():
            complete = track_sources(
                tracker, sources, open_one, lambda source: open_outputs(source, output, video=not no_video), batch
            )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not complete:
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the clip and its results.")] = Path("outputs/demo"),
    train: Annotated[
        bool,
        typer.Option(
            "--train", help="First train a tiny tracker from scratch, a few minutes, and take that for an easier clip."
        ),
    ] = False,
) -> None:
    """Track a generated clip with the weights that ship, and see what came out beside a tracker without memory.

    Needs no download. The training of --train goes on where it was stopped.
    """
    from memotr.demo.run import run_demo

    if train:
        from memotr.demo.training import train_for_demo

        weights, code = train_for_demo(output / "training")
        if code:
            raise typer.Exit(code)
        run_demo(output / "trained", str(weights), easy=True)
    else:
        run_demo(output)
