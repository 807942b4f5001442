"""What the parts of the method are worth on SynthDance: the paper's ablation, small.

memotr data synth SynthDance && python benchmarks/ablation.py . --output runs/ablation --seeds 0 1 2 --jobs 2

Trains a small network for every variant and seed, evaluates each on the validation split, and writes a table of means
and spreads (``ablation.md``, ``ablation.json``) whenever one is done. What is there is not done again: the command goes
on where it stopped. Further settings (``training.batch_sizes=[4]``) hold for all runs.

The paper's trackers begin with a detector trained on COCO. In the same way these begin with one detector for DAB and
one for Deformable-DETR: backbone and encoder of the tracker that ships, the backbone frozen, and a decoder from
nothing, trained on single frames (``--detect`` epochs). Each variant then learns to track from there (``--follow``
epochs, clips of growing length), once for each seed. There are three decoder layers, the first of which only detects,
and no loss but the paper's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from memotr import load_model
from memotr.build import build_model
from memotr.config import load_config
from memotr.training.run_state import LAST, read_state
from memotr.weights.model_files import save_model

NETWORK = [
    "model.num_decoder_layers=3",
    "model.merge_layer=1",
    "model.backbone.frozen_stages=5",
    "training.loss.identity=0",
    "data.val=null",
]
KEPT = ("backbone.", "feature_projs.", "transformer.encoder.", "transformer.level_embed")
"""Tensors that every detector takes over from the tracker that ships."""
DETECTORS = {"dab": [], "deformable-detr": ["model.variant=deformable-detr"]}
VARIANTS = {
    "as it is": ("dab", []),
    "without long memory": ("dab", ["model.use_long_memory=false", "model.long_memory_lambda=0"]),
    "without separate detection decoder": ("dab", ["model.merge_layer=0"]),
    "Deformable-DETR": ("deformable-detr", []),
}
METRICS = ("HOTA", "DetA", "AssA", "IDF1", "IDSW")


def memotr(*arguments: object) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # jobs run beside each other
    done = subprocess.run([sys.executable, "-m", "memotr.cli", *map(str, arguments)], env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"failed: memotr {' '.join(map(str, arguments))}")


def train(folder: Path, data_root: Path, settings: list[str], pretrained: Path | None = None) -> Path:
    """Weights of a training that is done now or was before."""
    if (folder / LAST).is_file():
        state = read_state(folder)
        if state.progress.epoch < state.settings["training"]["epochs"]:
            memotr("train", "--resume", folder, "--data-root", data_root)
    else:
        begin = [] if pretrained is None else ["--pretrained", pretrained]
        where = ["--output", folder, "--data-root", data_root, "--devices", 1]
        memotr("train", "synthdance", *settings, *begin, *where)
    return folder / "last.safetensors"


def begin(path: Path, settings: list[str]) -> Path:
    """The network before it can detect: backbone and encoder are those that ship, the rest is random."""
    if not path.is_file():
        torch.manual_seed(0)
        model = build_model(load_config("synthdance", settings))
        shipped = load_model("synthdance").state_dict()
        model.load_state_dict({k: v for k, v in shipped.items() if k.startswith(KEPT)}, strict=False)
        save_model(model, path)
    return path


def detector(options: argparse.Namespace, name: str, settings: list[str]) -> Path:
    """Weights that detect, as ``DETECTORS[name]`` does, with a memory that is still random."""
    folder = options.output / name
    return train(folder, options.data_root, settings, begin(options.output / f"{name}.safetensors", settings))


def stage(epochs: int, lengths: list[int], batch_sizes: list[int]) -> list[str]:
    """Settings: clips grow in equal steps, and the rate drops for the last fifth."""
    steps = [round(epochs * k / len(lengths)) for k in range(1, len(lengths))]
    return [
        f"training.epochs={epochs}",
        f"training.batch_sizes={batch_sizes}",
        f"training.optimizer.milestones=[{max(1, round(0.8 * epochs))}]",
        f"data.sampling.lengths={lengths}",
        f"data.sampling.steps={steps}",
        "data.sampling.intervals=[]",
    ]


def run(options: argparse.Namespace, detector: Path, folder: Path, settings: list[str]) -> dict[str, float]:
    """Train and evaluate one variant."""
    weights = train(folder / "train", options.data_root, settings, detector)
    scores = folder / "scores" / "metrics.json"
    if not scores.is_file():
        data = options.data_root / "SynthDance"
        memotr("eval", "--checkpoint", weights, "--dataset", data, "--split", "val", "--output", scores.parent)
    combined = json.loads(scores.read_text())["combined"]
    return {name: combined[name] for name in METRICS}


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: mean ± standard deviation over the seeds, in percent but for IDSW."""
    lines = ["| | seeds | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 2) + "|"]
    for variant, seeds in found.items():
        cells = []
        for name in METRICS:
            values = [one[name] * (1 if name == "IDSW" else 100) for one in seeds.values()]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        lines.append(f"| {variant} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_root", type=Path, help="folder that holds SynthDance")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--detect", type=int, default=20, help="epochs of single frames")
    parser.add_argument("--follow", type=int, default=12, help="epochs of clips")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each on one thread")
    parser.add_argument("settings", nargs="*", help="key=value")
    options = parser.parse_intermixed_args()
    options.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in VARIANTS}
    network = [*NETWORK, *options.settings]
    to_detect = [*network, *stage(options.detect, [1], [16])]
    to_follow = [*network, *stage(options.follow, [2, 5, 8], [8, 3, 2]), "data.sampling.interval=3"]
    with ThreadPoolExecutor(options.jobs) as pool:
        detectors = {
            name: pool.submit(detector, options, name, [*to_detect, *settings]) for name, settings in DETECTORS.items()
        }
        weights = {name: future.result() for name, future in detectors.items()}
        for seed in options.seeds:  # a whole column before the next seed: half of the table can be read already
            runs = {
                variant: pool.submit(
                    run,
                    options,
                    weights[name],
                    options.output / f"{variant.replace(' ', '-').lower()}-{seed}",
                    [*to_follow, f"training.seed={seed}", *DETECTORS[name], *changes],
                )
                for variant, (name, changes) in VARIANTS.items()
            }
            for variant, future in runs.items():
                found[variant][str(seed)] = future.result()
            (options.output / "ablation.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
            (options.output / "ablation.md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
