"""The commands `memotr track` and `memotr demo`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from memotr import vocabulary
from memotr.cli.application import MAX_FRAMES, app, importing
from memotr.cli.shared_options import Configuration, Device, DeviceKind, Graph, Overrides, Precision
from memotr.terminal import note

Sources = Annotated[
    list[str],
    typer.Argument(help="Videos, images, image folders, MOT sequence folders, camera numbers, rtsp or http addresses."),
]
Checkpoint = Annotated[
    str,
    typer.Option(
        help="Weights file (the authors' or ours), a name (see `memotr weights list`), hf://OWNER/NAME, or a file "
        "written by `memotr export`."
    ),
]
Kernel = Annotated[
    vocabulary.Kernel,
    typer.Option(help="Implementation of deformable attention; auto takes the fastest one for the device."),
]
Engine = Annotated[
    vocabulary.EngineName,
    typer.Option(help="Runtime of the network; auto decides by the suffix of the checkpoint."),
]
Batch = Annotated[
    int, typer.Option(min=1, max=1000, help="Number of sources to track at once, with one forward pass for all.")
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the frame step with torch.compile; the first frame of each size can take minutes."
    ),
]
PreprocessOnDevice = Annotated[
    bool | None,
    typer.Option(
        "--preprocess-on-device/--no-preprocess-on-device",
        help="Resize frames on the device or on the CPU; the results are the same.",
        show_default="on the device with CUDA",
    ),
]
End = Annotated[
    int | None,
    typer.Option(
        max=MAX_FRAMES, help="Number of the frame to stop before, counted from 0.", show_default="the source's end"
    ),
]
MaxFrames = Annotated[
    int | None, typer.Option(max=MAX_FRAMES, help="Stop after this number of frames.", show_default="all")
]


Stream = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=1000,
        help="Number of the video stream in a file that has several, from 0, as ffprobe counts.",
        show_default="FFmpeg's choice",
    ),
]


Fps = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=1000,
        help="Frames per second of folders of images.",
        show_default="25, or frameRate of seqinfo.ini",
    ),
]


def _threshold(help: str) -> Any:
    return typer.Option(help=help, show_default="the checkpoint's")


@app.command()
def track(
    sources: Sources,
    checkpoint: Checkpoint,
    config: Configuration = None,
    output: Annotated[Path, typer.Option(help="Folder for <source name>.mp4, .txt and .jsonl.")] = Path("outputs"),
    device: Device = "auto",
    precision: Precision = "auto",
    kernel: Kernel = "auto",
    engine: Engine = "auto",
    det_thresh: Annotated[float | None, _threshold("Lowest score of a detection that starts a track, 0 to 1.")] = None,
    track_thresh: Annotated[float | None, _threshold("Score below which a track counts as unseen, 0 to 1.")] = None,
    result_thresh: Annotated[float | None, _threshold("Score above which a track is reported, 0 to 1.")] = None,
    miss_tolerance: Annotated[int | None, _threshold("Number of unseen frames after which a track ends.")] = None,
    overrides: Overrides = None,
    start: Annotated[int, typer.Option(max=MAX_FRAMES, help="Number of the first frame to track, counted from 0.")] = 0,
    end: End = None,
    stride: Annotated[int, typer.Option(max=MAX_FRAMES, help="Take every n-th frame.")] = 1,
    max_frames: MaxFrames = None,
    stream: Stream = None,
    fps: Fps = None,
    batch: Batch = 1,
    compile: Compile = False,
    graph: Graph = "auto",
    preprocess_on_device: PreprocessOnDevice = None,
    no_video: Annotated[bool, typer.Option("--no-video", help="Do not write an annotated video.")] = False,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Do not copy the sound of video files into the annotated videos.")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip images that cannot be read.")] = False,
) -> None:
    """Track the objects in videos and write an annotated video, MOTChallenge text and JSON lines for each.

    Frame numbers in the results are those of the source, also with --start and --stride. Ctrl-C ends a run early, with
    complete files of all frames so far. A stream that breaks off leaves complete files, too; the exit code is then 1.
    """
    with importing():
        from memotr.api import NetworkOptions, open_tracker
        from memotr.data.synth.domain import foreign_domain
        from memotr.io.outputs import check_outputs, open_outputs
        from memotr.io.sources import open_source
        from memotr.tracking.many_sources import check_sources, track_sources

    open_one = partial(
        open_source,
        start=start,
        end=end,
        stride=stride,
        max_frames=max_frames,
        skip_bad=skip_bad,
        stream=stream,
        fps=fps,
    )
    names = check_sources(sources, open_one)
    check_outputs(output, names.values())
    thresholds = {
        "det_thresh": det_thresh,
        "track_thresh": track_thresh,
        "result_thresh": result_thresh,
        "miss_tolerance": miss_tolerance,
    }
    network = NetworkOptions(config, overrides or (), precision, kernel, compile, graph, preprocess_on_device, batch)
    tracker = open_tracker(checkpoint, device, engine, network, thresholds)
    if foreign := foreign_domain(tracker.config, sources):
        note(f"note: {foreign}")
    try:
        complete = track_sources(
            tracker,
            names,
            open_one,
            lambda source: open_outputs(source, output, video=not no_video, audio=not no_audio),
            batch,
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
            "--train",
            help="First train a tiny tracker from scratch (about ten minutes on two CPU cores), and track an easier "
            "clip with it. After an interruption the same command continues.",
        ),
    ] = False,
    device: DeviceKind = "auto",
    overrides: Overrides = None,
) -> None:
    """Track a generated clip with the weights in the package, and compare the result with a tracker without memory.

    Needs no download.
    """
    with importing():
        from memotr.demo.run_demo import run_demo

    settings = overrides or ()
    if train:
        from memotr.demo.train_for_demo import train_for_demo

        weights, code = train_for_demo(output / "training", device, settings)
        if code:
            note("the same `memotr demo --train` continues the training")
            raise typer.Exit(code)
        run_demo(output / "trained", str(weights), easy=True, device=device, settings=settings)
    else:
        run_demo(output, device=device, settings=settings)
