"""Training run, from its data and initial weights to its last checkpoint."""

from __future__ import annotations

import errno
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch.nn.modules.batchnorm import _BatchNorm

from memotr.build import build_model
from memotr.config import Config
from memotr.data.clips import ClipDataset, ClipLoader, Source
from memotr.data.formats.dataset_format import AnnotationFiles
from memotr.data.problems import Problems
from memotr.errors import UserError
from memotr.files import hold_run, replacing
from memotr.models.memotr import MeMOTR
from memotr.signals import StopRequest, stop_on_signals
from memotr.terminal import log
from memotr.training.devices import frames_that_fit, launch, leave_process_group, make_fabric
from memotr.training.engine import Training, Validate
from memotr.training.environment import append_environment, describe_environment
from memotr.training.figure import ShownClip
from memotr.training.inputs import make_dataset, read_sources, read_split, resolve_classes
from memotr.training.resume import check_resumable, describe_resuming
from memotr.training.run_state import LAST, RunState
from memotr.vocabulary import DeviceKind
from memotr.weights.classes import for_classes
from memotr.weights.kinds import Kind
from memotr.weights.model_files import fill_model, find_config, read_weights
from memotr.weights.pretrained import load_backbone, load_detector


def train(
    config: Config,
    folder: Path,
    *,
    state: RunState | None = None,
    pretrained: Path | None = None,
    device: DeviceKind = "auto",
    devices: int | None = None,
    num_nodes: int | None = None,
    validate: Validate | None = None,
    files: AnnotationFiles | None = None,
) -> int:
    """Train until the last epoch is done or a signal asks to stop.

    Args:
        config: all settings.
        folder: output folder for checkpoints, metrics and figures.
        state: state of the run to continue; None starts a new run.
        pretrained: weights to start from, of a detector or a tracker.
        device: kind of device to compute on.
        devices: number of processes on this machine; None: see :func:`memotr.training.devices.make_fabric`.
        num_nodes: number of machines; None: likewise.
        validate: validation, every ``training.output.val_every`` epochs.
        files: cache of annotation files, for example those that were read for ``validate``; emptied once all data is
            read. None: a new cache.

    Returns:
        The exit code: 128 + the signal's number on the first rank of a run that a signal stopped, otherwise 0.

    Raises:
        UserError: bad data, weights or settings; a folder that cannot be written; a loss that is not finite in too many
            consecutive steps.
    """
    files = AnnotationFiles() if files is None else files
    problems = Problems()
    sources = read_sources(config.data, files, problems)
    config = resolve_classes(config, sources)
    if validate is not None:
        validate.check_classes(config.classes)
    dataset = make_dataset(config, sources)
    if state is not None:
        check_resumable(state, config)
    # A resumed run has its own weights, so the files that it started from may be missing.
    model, origin = start_model(config, pretrained) if state is None else start_model(without_paths(config), None)
    prepare_folder(folder, resuming=state is not None)
    fabric = make_fabric(
        device, devices, num_nodes, config.training.precision, statistics=has_statistics(model, config)
    )
    launch(fabric)
    config = resolve_frames_at_once(config, state, fabric)
    shown = choose_clip(config, sources, files) if fabric.is_global_zero else None
    files.forget()
    with hold_run(fabric, folder), stop_on_signals() as stop:
        prepare_folder(folder, resuming=state is not None)  # another run may have ended there while this one waited
        training = Training(fabric, config, model, dataset, folder, stop, shown, validate)
        if state is not None:
            training.restore(state)
            origin = "\n".join(describe_resuming(state, config, fabric.world_size))
        training.on_first_rank(lambda: write_settings(fabric, config, folder))
        if fabric.is_global_zero:
            log(*(f"note: {note}" for note in problems.brief_notes()))
            log(*origin.split("\n"), *describe(fabric, config, model, dataset, folder))
        try:
            with known_failures(folder, training.loader):
                training.run()
        except KeyboardInterrupt:
            log(f"stopped immediately by a second Ctrl-C, without a checkpoint of step {training.progress.steps}")
            return 128 + signal.SIGINT if fabric.is_global_zero else 0
        finally:
            training.loader.close()
    stopped, steps = training.stopping, training.progress.steps
    del training
    leave_process_group()
    if not fabric.is_global_zero:
        return 0
    return log_stop(stop, steps, folder) if stopped else log_end(folder)


def resolve_frames_at_once(config: Config, state: RunState | None, fabric: Fabric) -> Config:
    """Return the configuration with a resolved ``training.frames_at_once``.

    Unless it is set, a new run computes it on the first rank's device. A resumed run keeps its number, because the last
    bits of the results depend on it; runs of versions without the setting continue frame by frame.
    """
    if "frames_at_once" in config.training.model_fields_set:
        return config
    if state is not None:
        frames = state.settings.get("training", {}).get("frames_at_once", 1)
    else:
        frames = fabric.broadcast(frames_that_fit(config, fabric.device))
    training = config.training.model_copy(update={"frames_at_once": frames})
    return config.model_copy(update={"training": training})


def log_end(folder: Path) -> int:
    """Report the weights that a complete run wrote; return the exit code."""
    written = [folder / name for name in ("best.safetensors", "last.safetensors") if (folder / name).is_file()]
    log(f"wrote {' and '.join(map(str, written))}; to use it: memotr track VIDEO --checkpoint {written[0]}")
    return 0


def log_stop(stop: StopRequest, steps: int, folder: Path) -> int:
    """Report which signal stopped a run and how to continue; return the exit code."""
    number = stop.signal or signal.SIGTERM  # None if another rank received it
    remedy = f"continue with {resume_command(folder)}" if (folder / LAST).is_file() else "nothing was saved yet"
    log(f"stopped by {number.name} after step {steps}; {remedy}")
    return 128 + number


@contextmanager
def known_failures(folder: Path, loader: ClipLoader) -> Iterator[None]:
    """Convert errors of PyTorch whose cause is outside of this package to UserError with a remedy."""
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            cause = getattr(error, "inner_exception", error)
            reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
            raise UserError(f"torch.compile does not work here ({reason}): train without --compile") from error
        lost = explain_lost_resource(error, loader.num_workers, loader.lacked_shared_memory())
        if lost is None:
            raise
        if hasattr(signal, "SIGCHLD"):  # PyTorch's handler would print another message in the middle of this one
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        remedy = f"Continue with {resume_command(folder)}." if (folder / LAST).is_file() else "Nothing was saved yet."
        raise UserError(f"{lost} {remedy}") from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "model.backbone.norm=batch needs more than one value per channel: train on larger images or batches, "
            "or with norm 'group'"
        ) from None


def explain_lost_resource(error: Exception, workers: int, lacked_shared_memory: bool = False) -> str | None:
    """Return a sentence that names the process or resource that a run has lost and the remedy; None for other errors.

    PyTorch reports a lost data-loader worker anywhere in the training, by exceptions of many classes.

    Args:
        error: the exception.
        workers: number of processes that read clips.
        lacked_shared_memory: a worker ended because shared memory was full, which not every exception says.
    """
    text = str(error)
    if "Too many open files" in text or "ancdata" in text:
        return "too many files are open: raise the limit (ulimit -n) or lower data.workers."
    full = "No space left on device" in text and ("/torch_" in text or "worker" in text)
    # Errors of a full disk name a file; those of locks between processes, which are in shared memory, do not.
    full |= isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None
    if full or lacked_shared_memory or "shared memory" in text:
        return (
            "there is too little shared memory (/dev/shm): enlarge it (docker run --shm-size=8g) or lower "
            "data.workers; 0 needs no shared memory."
        )
    if isinstance(error, ConnectionError | EOFError) or "DataLoader worker (pid" in text:
        return (
            f"a process that reads clips was killed, perhaps because {workers} of them need too much memory: lower "
            "data.workers; 0 reads clips in the training process."
        )
    if "Connection closed by peer" in text or "Connection reset by peer" in text:
        return "another rank has ended: see its messages."
    return None


def resume_command(folder: Path) -> str:
    """Return the command that continues a run, whichever command or function started it."""
    return f"`memotr train --resume {shlex.quote(str(folder))}`"


def prepare_folder(folder: Path, *, resuming: bool) -> None:
    """Create the output folder. Raises UserError if it cannot be written or contains another run."""
    if not resuming and (folder / LAST).is_file():
        raise UserError(
            f"{folder}: already contains a run; continue it with {resume_command(folder)}, or choose another --output"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be created ({error.strerror or error})") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: cannot be written to; choose another --output")


def has_statistics(model: MeMOTR, config: Config) -> bool:
    """Return whether a model has running statistics (batch normalisation).

    Raises:
        UserError: backbone activations are recomputed, which would update the statistics twice per batch.
    """
    found = any(isinstance(module, _BatchNorm) for module in model.modules())
    if found and "backbone" in config.training.checkpoint_activations:
        raise UserError(
            "training.checkpoint_activations: recomputing a backbone with batch normalisation would update its "
            "statistics twice per batch; leave 'backbone' out"
        )
    return found


def start_model(config: Config, pretrained: Path | None) -> tuple[MeMOTR, str]:
    """Return the model before its first step, and a sentence that names the origin of its weights.

    Raises:
        UserError: weights that do not fit the configuration.
    """
    weights = config.model.backbone.weights
    anywhere = without_paths(config)
    torch.manual_seed(config.training.seed)
    if pretrained is None:
        model = build_model(anywhere)
        return model, load_backbone(model, Path(weights)) if weights else "starting from random weights"
    if weights:
        raise UserError(
            f"--pretrained {pretrained} already contains a backbone: leave out model.backbone.weights={weights}"
        )
    checkpoint = read_weights(pretrained)
    if checkpoint.kind in (Kind.TRACKER, Kind.TRAINING):
        known, _ = find_config(checkpoint)
        fitting, note = for_classes(checkpoint, known.classes, config.classes, build_model(anywhere))
        try:
            return fill_model(fitting, anywhere, config.name).train(), f"starting from {pretrained}: a tracker, {note}"
        except UserError as error:
            remedy = (
                f"to use their settings, train without a preset: memotr train --data FOLDER --pretrained {pretrained}"
            )
            raise UserError(f"{error}; {remedy}") from None
    model = build_model(anywhere)
    return model, str(load_detector(model, checkpoint.path))


def without_paths(config: Config) -> Config:
    """Return the configuration without local paths, as it is stored in files of weights."""
    data = config.data.model_copy(update={"root": "."})
    model = config.model.model_copy(update={"backbone": config.model.backbone.model_copy(update={"weights": None})})
    return config.model_copy(update={"data": data, "model": model})


def choose_clip(config: Config, sources: list[Source], files: AnnotationFiles) -> ShownClip | None:
    """Return the clip for the figures, from the validation split if it can be read, else from the training data.

    Returns:
        The clip of the first sequence whose images can be read; None if there is none.
    """
    sequences = [sequence for source in sources for sequence in source.sequences]
    if config.data.val is not None:
        try:
            sequences = read_split(config.data, config.data.val, files) + sequences
        except UserError as error:
            log(f"data.val cannot be read ({error}): figures show a training clip instead")
    # Mean interval between the frames of a training clip, in the last epochs.
    interval = (config.data.sampling.largest_interval(config.training.epochs) + 1) // 2
    for sequence in sequences:
        try:
            return ShownClip.choose(sequence, interval=interval)
        except UserError:  # an image cannot be read; training reports it when it reads the image
            continue
    return None


def write_settings(fabric: Fabric, config: Config, folder: Path) -> None:
    """Write ``config.yaml``, which ``memotr train`` accepts as a configuration, and ``environment.json``."""
    with replacing(folder / "config.yaml") as beside:
        beside.write_text(config.to_yaml())
    append_environment(folder / "environment.json", describe_environment(fabric))


def describe(fabric: Fabric, config: Config, model: MeMOTR, dataset: ClipDataset, folder: Path) -> tuple[str, str]:
    """Return two lines that describe data, network, devices and output folder."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    ranks = f" × {fabric.world_size}" if fabric.world_size > 1 else ""
    data = ", ".join(" ".join(filter(None, (source.path, source.split))) for source in config.data.train)
    return (
        f"data: {data} in {Path(config.data.root).absolute()}; classes: {', '.join(config.classes)}",
        f"{config.name}: {trained / 1e6:.1f} million parameters to train, {dataset.size(0):,} clips in the first of "
        f"{config.training.epochs} epochs, on {fabric.device.type}{ranks}, precision {config.training.precision}; "
        f"results go to {folder}",
    )
