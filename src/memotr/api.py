"""Python functions of the main commands: track sources into files, train, evaluate."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from memotr.config import as_settings
from memotr.data.synth.domain import foreign_domain
from memotr.errors import UserError, warn, wrong_type
from memotr.export.engines import choose_engine, open_engine
from memotr.export.exported_tracker import ExportedTracker
from memotr.io.frames import Source
from memotr.io.outputs import check_outputs, open_outputs
from memotr.io.sinks import Sink
from memotr.io.sources import open_source
from memotr.tracking.compiled import CompiledTracker
from memotr.tracking.many_sources import check_sources, track_sources
from memotr.tracking.tracker import Tracker
from memotr.tracking.video_tracker import VideoTracker
from memotr.vocabulary import DeviceKind, EngineName, GraphMode, Kernel, Precision, Protocol
from memotr.weights.model_files import open_model

if TYPE_CHECKING:  # needs an extra
    from memotr.evaluation.scoring import Scores


@dataclass(frozen=True)
class NetworkOptions:
    """Options of trackers that are not exported, with their defaults. In an exported tracker they are fixed."""

    config: str | None = None
    set: Sequence[str] = ()
    precision: Precision = "auto"
    kernel: Kernel = "auto"
    compile: bool = False
    graph: GraphMode = "auto"
    preprocess_on_device: bool | None = None
    batch: int = 1

    def given(self) -> list[str]:
        """Return the command-line names of the options that differ from their defaults."""
        changed = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        return [f"--{name.replace('_', '-')}" for name in changed]


def track(
    sources: str | Path | int | Sequence[str | Path | int],
    checkpoint: str | Path,
    *,
    output: str | Path = "outputs",
    video: bool = True,
    start: int = 0,
    end: int | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    skip_bad: bool = False,
    stream: int | None = None,
    fps: float | None = None,
    audio: bool = True,
    batch: int = 1,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    kernel: Kernel = "auto",
    compile: bool = False,
    graph: GraphMode = "auto",
    preprocess_on_device: bool | None = None,
    config: str | None = None,
    settings: Sequence[str] = (),
    **thresholds: float,
) -> list[Path]:
    """Track videos, image folders or streams and write results for each, as ``memotr track`` does.

    Args:
        sources: one or several sources: video files, folders of images, MOT sequence folders, numbers of cameras, or
            addresses of streams.
        checkpoint: weights file, name of weights such as "dancetrack", or a file written by ``memotr export``.
        output: folder for ``<name>.mp4``, ``.txt`` (MOTChallenge) and ``.jsonl`` of each source.
        video: write annotated videos.
        start: number of the first frame, from 0.
        end: number of the first frame to leave out; None for the source's end.
        stride: take every ``stride``-th frame.
        max_frames: maximum number of frames to take.
        skip_bad: skip images of a folder that cannot be read.
        stream: number of the video stream in files that have several; None: the main one.
        fps: frames per second of folders of images; None: 25, or what ``seqinfo.ini`` says.
        audio: keep the sound of video files in annotated videos, if all of their frames are taken.
        batch: number of sources to track at once, with one forward pass for all.
        device: device to compute on: "auto", "cpu", "cuda", "mps", or one such as "cuda:1".
        engine: runtime of the network; "auto" decides by the suffix of the checkpoint.
        precision: numerical precision of the network.
        kernel: implementation of deformable attention.
        compile: compile the frame step with ``torch.compile``.
        graph: capture the frame step as a CUDA graph: "auto" (on CUDA) or "off".
        preprocess_on_device: resize and normalise frames on the device of the network; None: on CUDA.
        config: preset or YAML file, if no configuration is found with the weights.
        settings: settings to override as ``key=value``.
        **thresholds: thresholds of :class:`memotr.Tracker`, such as ``det_thresh=0.4``.

    Returns:
        The files that were written, in the order of the sources.

    Raises:
        memotr.errors.UserError: the weights or a source cannot be used, or a file cannot be written.
    """
    given = [sources] if isinstance(sources, str | os.PathLike | int) else list(sources)
    for source in given:
        if not isinstance(source, str | os.PathLike | int):
            raise wrong_type("files, folders, camera numbers or addresses (Tracker.track takes frames, too)", source)
    if not given:
        raise UserError("no source to track: pass at least one")
    _check_paths(checkpoint=checkpoint, output=output)
    folder = Path(output)
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
    names = check_sources([str(source) for source in given], open_one)
    check_outputs(folder, names.values())
    network = NetworkOptions(config, settings, precision, kernel, compile, graph, preprocess_on_device, batch)
    tracker = open_tracker(str(checkpoint), device, engine, network, thresholds)
    if foreign := foreign_domain(tracker.config, list(names)):
        warn(foreign)
    sinks: dict[str, list[Sink]] = {}  # by the name of the source

    def open_files(source: Source) -> list[Sink]:
        sinks[source.name] = open_outputs(source, folder, video=video, audio=audio)
        return sinks[source.name]

    track_sources(tracker, names, open_one, open_files, batch)
    return [sink.path for name in names.values() for sink in sinks[name] if sink.finished]


def open_tracker(
    checkpoint: str, device: str, engine: EngineName, options: NetworkOptions, thresholds: Mapping[str, Any]
) -> VideoTracker:
    """Return the tracker of weights or of an exported file.

    Raises:
        UserError: the weights cannot be used, or an option is fixed in the exported file.
    """
    if choose_engine(checkpoint, engine) != "torch":
        if given := options.given():
            raise UserError(f"{checkpoint}: is exported, which fixes some options: leave out {', '.join(given)}")
        return ExportedTracker(open_engine(checkpoint, device), **thresholds)
    if options.compile and options.batch > 1:
        raise UserError("--compile does not work with --batch: leave out one of them")
    model = open_model(checkpoint, config=options.config, settings=options.set, device=device, kernel=options.kernel)
    make: Callable[..., VideoTracker] = CompiledTracker if options.compile else Tracker
    return make(
        model,
        **thresholds,
        precision=options.precision,
        preprocess_on_device=options.preprocess_on_device,
        graph=options.graph,
    )


def train(
    config: str | Path | None = None,
    *,
    data: str | Path | None = None,
    pretrained: str | Path | None = None,
    resume: str | Path | None = None,
    output: str | Path | None = None,
    settings: Sequence[str] = (),
    device: DeviceKind = "auto",
    devices: int | None = None,
) -> Path:
    """Train a tracker, as ``memotr train`` does. Needs the extra ``train``.

    Args:
        config: preset or YAML file; None: the settings of the pretrained weights, or of the resumed run.
        data: folder of your own data set, in place of the configured ones.
        pretrained: weights to start from: a file or a name.
        resume: folder or checkpoint of a run to continue.
        output: folder for everything that the run writes; None: ``runs/`` and the name of the configuration.
        settings: settings to override as ``key=value``, such as ``"training.epochs=10"``.
        device: kind of device to compute on.
        devices: number of processes; None: one per GPU. More than one require an importable main module
            (``if __name__ == "__main__":``).

    Returns:
        The folder of the run; ``last.safetensors`` in it has the weights.

    Raises:
        memotr.errors.UserError: the data, the weights or a setting cannot be used, or the folder cannot be written.
    """
    _check_paths(config=config, data=data, pretrained=pretrained, resume=resume, output=output)
    source = None if config is None else str(config)
    run = None if resume is None else Path(resume)
    folder = None if output is None else Path(output)
    own = None if data is None else Path(data)
    weights = None if pretrained is None else Path(pretrained)
    return run_training(source, as_settings(settings), {}, folder, run, own, weights, device, devices)[0]


def run_training(
    config: str | None,
    settings: list[str],
    options: Mapping[str, Any],
    output: Path | None,
    resume: Path | None,
    data: Path | None,
    pretrained: Path | None,
    device: DeviceKind = "auto",
    devices: int | None = None,
    num_nodes: int | None = None,
) -> tuple[Path, int]:
    """Train or continue a run; arguments as for :func:`train` and :func:`memotr.training.resume.resolve_run`.

    Returns:
        The folder of the run, and its exit code: 128 + the number of the signal that stopped it, otherwise 0.
    """
    from memotr.data.formats.dataset_format import AnnotationFiles
    from memotr.evaluation.validation import make_validation
    from memotr.training.inputs import with_validation
    from memotr.training.resume import resolve_run
    from memotr.training.train import train as run

    if resume is not None and pretrained is not None:
        raise UserError(
            f"--resume {resume} continues a run with its own weights; --pretrained {pretrained} starts a new one: "
            "leave out one of them"
        )
    chosen, folder, state = resolve_run(config, settings, options, output, resume, data, pretrained)
    chosen = with_validation(chosen)
    files = AnnotationFiles()
    validates = chosen.training.output.val_every > 0
    code = run(
        chosen,
        folder,
        validate=make_validation(chosen, folder / "validation", files) if validates else None,
        state=state,
        pretrained=pretrained,
        device=device,
        devices=devices,
        num_nodes=num_nodes,
        files=files,
    )
    return folder, code


def evaluate(
    checkpoint: str | Path,
    dataset: str | Path,
    *,
    split: str | None = None,
    half: bool = False,
    sequences: str | Sequence[str] = (),
    format: Protocol = "auto",
    output: str | Path | None = None,
    config: str | None = None,
    settings: Sequence[str] = (),
    precision: Precision = "auto",
    graph: GraphMode = "auto",
    batch: int = 1,
    device: DeviceKind = "auto",
) -> Scores:
    """Track every sequence of a split and score the results, as ``memotr eval`` does. Needs the extra ``eval``.

    Args:
        checkpoint: weights file or name of weights.
        dataset: folder of the data set.
        split: split of the data set, such as "val"; required if there are several.
        half: use the second half of every sequence.
        sequences: pattern of the names of sequences, or several; empty: all.
        format: benchmark whose rules decide what is scored.
        output: folder for results and scores; a repeated call continues there. None: ``outputs/eval/…``.
        config: preset or YAML file, if no configuration is found with the weights.
        settings: settings to override as ``key=value``.
        precision: numerical precision of the network.
        graph: capture the frame step as a CUDA graph: "auto" (on CUDA) or "off".
        batch: number of sequences to track at once.
        device: kind of device to compute on.

    Returns:
        Metrics: ``scores.combined["HOTA"]`` is HOTA over all sequences as a fraction in [0, 1]; ``scores.sequences``
            contains the metrics of each sequence.

    Raises:
        memotr.errors.UserError: the weights, the data or a setting cannot be used.
    """
    from memotr.evaluation.benchmark import load_benchmark
    from memotr.evaluation.checkpoints import Evaluation
    from memotr.evaluation.ground_truth import describe_truth
    from memotr.training.devices import make_fabric

    _check_paths(checkpoint=checkpoint, dataset=dataset, output=output)
    if format not in get_args(Protocol):
        raise UserError(f"there are no rules {format!r}: take {', '.join(get_args(Protocol))}")
    sequences = [sequences] if isinstance(sequences, str) else sequences
    root = Path(dataset)
    benchmark = load_benchmark(root, split=split, only=tuple(sequences), half=half, format=format)
    source = describe_truth(root, format, split, None, list(sequences) or None, half)
    fabric = make_fabric(device, 1, None)
    evaluation = Evaluation(fabric, benchmark, source, settings, config, precision, batch, graph)
    part = "-".join(filter(None, [root.name, split or ("half" if half else "")]))
    folder = Path("outputs", "eval", f"{Path(checkpoint).stem}-{part}") if output is None else Path(output)
    scored = evaluation.score(Path(checkpoint), folder)
    assert scored is not None  # this is the only rank
    return scored[0]


def _check_paths(**given: object) -> None:
    """Raise TypeError unless all arguments that are given are paths or texts."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str | os.PathLike):
            raise wrong_type(f"a path or a text for {name}", value)
