"""Training of a tiny tracker from scratch, in about ten minutes on two CPU cores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memotr.config import load_config
from memotr.consoles import console
from memotr.data.synth.settings import SynthSettings
from memotr.data.synth.writer import generate
from memotr.demo.run_demo import EASY, PRESET
from memotr.training.run_state import LAST, read_state
from memotr.training.train import train
from memotr.vocabulary import DeviceKind

DATA, SPLIT, SEQUENCES = "SynthDance", "train", 24
# A narrow network on small images of few people: first on single frames, then on clips of five frames.
SETTINGS = (
    "name=demo",
    "model.backbone.width=16",
    "model.num_queries=20",
    "model.num_decoder_layers=3",
    "model.merge_layer=1",
    "input.short_side=96",
    "data.workers=0",
    "data.val=null",
    "data.sampling.lengths=[1,5]",
    "data.sampling.steps=[8]",
    "data.sampling.intervals=[1,3]",
    "data.augmentation.short_sides=[96]",
    "training.epochs=10",
    "training.batch_sizes=[16,3]",
    "training.loss.identity=0",
    "training.optimizer.milestones=[9]",
    "training.output.log_every=10",
)


def train_for_demo(output: Path, device: DeviceKind = "auto", settings: Sequence[str] = ()) -> tuple[Path, int]:
    """Train on generated clips, and continue an earlier call that was stopped.

    Args:
        output: folder for the data (``SynthDance``) and the run (``run``).
        device: kind of device to compute on.
        settings: settings to override as ``key=value``.

    Returns:
        Weights file, and exit code: 0, or the code of a run that was stopped by a signal.

    Raises:
        UserError: the folder cannot be written.
    """
    clips = SynthSettings(splits={SPLIT: SEQUENCES}, frames=60, **EASY)
    generate(output / DATA, clips, progress=console(stderr=True))
    path = f"data.train=[{{path: {DATA}, split: {SPLIT}, format: mot, weight: 1}}]"
    config = load_config(PRESET, [*SETTINGS, path, f"data.root={output}", *settings])
    run = output / "run"
    state = read_state(run) if (run / LAST).is_file() else None
    done = state is not None and state.progress.epoch >= config.training.epochs and not state.progress.outcome_due
    code = 0 if done else train(config, run, state=state, device=device)
    return run / "last.safetensors", code
