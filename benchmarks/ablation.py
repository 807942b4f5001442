"""What the parts of the method are worth on SynthDance: the paper's ablation, small.

memotr data synth SynthDance && python benchmarks/ablation.py . --output runs/ablation --seeds 0 1 2

Trains the shipped tracker's configuration for every variant and seed, evaluates each on the test split, and writes a
table of means and spreads (``ablation.md``, ``ablation.json``) after every run. What is there is not done again:
the command goes on where it stopped. Further settings (``training.epochs=8``) hold for all runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

VARIANTS = {
    "as it is": [],
    "without long memory": ["model.use_long_memory=false", "model.long_memory_lambda=0"],
    "without separate detection decoder": ["model.merge_layer=0"],
    "Deformable-DETR": ["model.variant=deformable-detr"],
}
METRICS = ("HOTA", "DetA", "AssA", "IDF1", "IDSW")


def memotr(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "memotr.cli", *map(str, arguments)], check=True)


def run(data_root: Path, folder: Path, settings: list[str]) -> dict[str, float]:
    """Train and evaluate, each if that is not done yet."""
    weights, scores = folder / "train" / "last.safetensors", folder / "scores" / "metrics.json"
    if not weights.is_file():
        begun = (folder / "train" / "last.pt").is_file()
        how = ["--resume", folder / "train"] if begun else ["synthdance", "--output", folder / "train"]
        memotr("train", *how, "--data-root", data_root, *([] if begun else settings))
    if not scores.is_file():
        data = data_root / "SynthDance"
        memotr("eval", "--checkpoint", weights, "--dataset", data, "--split", "test", "--output", scores.parent)
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
    parser.add_argument("settings", nargs="*", help="key=value")
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for seed in options.seeds:  # a whole row of the table before the next seed: half of it can be read already
        for variant, changes in VARIANTS.items():
            folder = options.output / f"{variant.replace(' ', '-').lower()}-{seed}"
            settings = [*options.settings, *changes, f"training.seed={seed}"]
            found.setdefault(variant, {})[str(seed)] = run(options.data_root, folder, settings)
            (options.output / "ablation.json").write_text(json.dumps(found, indent=1) + "\n")
            (options.output / "ablation.md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
