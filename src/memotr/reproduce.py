"""Reproduction of published results: known weights, published settings, and one record of what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from memotr.data.sequences import Sequence as Video
from memotr.data.synth.settings import SPLITS
from memotr.documents import read_json
from memotr.errors import UserError
from memotr.evaluation.benchmark import load_benchmark
from memotr.evaluation.checkpoints import Evaluation
from memotr.evaluation.progress_bars import ScoringProgress
from memotr.evaluation.run_folder import write_json
from memotr.evaluation.run_record import RECORD
from memotr.evaluation.scoring import Scores
from memotr.evaluation.tables import NUMBERS, PERCENT
from memotr.files import replacing
from memotr.submission.server_archive import SERVERS, write_submission
from memotr.training.environment import describe_environment
from memotr.vocabulary import Precision, Reproduction, SubmissionFormat
from memotr.weights.cache import digest_of
from memotr.weights.named import file_of
from memotr.weights.registry import named_weights

DESCRIPTIONS = ("gt/gt.txt", "seqinfo.ini")
"""Files of a sequence whose bytes belong to the fingerprint of the data."""


@dataclass(frozen=True)
class Target:
    """Published result.

    Attributes:
        weights: name of the weights.
        dataset: name of the data set.
        split: split of the data set.
        sequences: number of sequences in the split; the copies of a video in MOT17 count once.
        server: benchmark whose server scores the results; None: scored here.
    """

    weights: str
    dataset: str
    split: str
    sequences: int
    server: SubmissionFormat | None = None


DANCETRACK, MOT17 = SERVERS["dancetrack"].splits, SERVERS["mot17"].splits
TARGETS: Mapping[Reproduction, Target] = {
    "dancetrack-val": Target("dancetrack", "DanceTrack", "val", DANCETRACK["val"]),
    "dancetrack-test": Target("dancetrack", "DanceTrack", "test", DANCETRACK["test"], "dancetrack"),
    "mot17-test": Target("mot17", "MOT17", "test", MOT17["test"], "mot17"),
    "synthdance-test": Target("synthdance", "SynthDance", "test", SPLITS["test"]),
}


def reproduce(
    name: Reproduction,
    dataset: Path,
    output: Path,
    fabric: Fabric,
    *,
    precision: Precision = "32",
    batch: int = 1,
    partial: bool = False,
) -> tuple[Path, dict[str, Any]] | None:
    """Track a split with the weights and settings of a published result; score it, or pack it for the server.

    Repeat an interrupted call to continue it.

    Args:
        name: name of the target.
        dataset: folder of the data set.
        output: folder for results, scores or archive, and the record ``<name>.json``.
        fabric: fabric that is not launched yet.
        precision: numerical precision of the network.
        batch: number of sequences that each rank tracks at once.
        partial: accept other sequences than the whole split, for trials; the record says so.

    Returns:
        Path and content of the record on the first rank, None on the others.

    Raises:
        UserError: weights, data or results are not what they have to be.
    """
    target = TARGETS[name]
    entry = named_weights()[target.weights]
    weights = file_of(entry)
    benchmark = load_benchmark(dataset, split=target.split, scored=target.server is None)
    complete = len(benchmark.sequences) == target.sequences
    if not complete and not partial:
        raise UserError(
            f"{dataset}: has {len(benchmark.sequences)} sequences in {target.split}, and {target.dataset} has "
            f"{target.sequences}; complete the data set, or make a trial with --partial"
        )
    environment = describe_environment(fabric)
    del environment["command"]  # which has paths of this machine
    source = {"dataset": str(dataset.absolute()), "split": target.split}
    # The published settings are in the file of weights, or beside it.
    evaluation = Evaluation(fabric, benchmark, source, precision=precision, batch=batch)
    outcome = _pack(evaluation, weights, output, target.server, partial) if target.server else None
    if target.server is None and (scored := evaluation.score(weights, output)):
        outcome = {"scores": _percent(scored[0])}
    if outcome is None:
        return None
    run = read_json(output / RECORD)
    record = {
        "target": name,
        "weights": {
            "name": entry.name,
            "sha256": digest_of(weights),
            "size": weights.stat().st_size,
            "source": entry.source,
        },
        "data": {
            "name": target.dataset,
            "split": target.split,
            "complete": complete,
            "sequences": len(benchmark.sequences),
            "frames": benchmark.num_frames,
            "sha256": data_fingerprint(benchmark.sequences),
        },
        "settings": {key: run[key] for key in ("classes", "input", "tracking")},
        "precision": run["precision"],
        "batch": batch,
        "environment": environment,
        **outcome,
        "published": dict(entry.published.get(name, {})),
    }
    file = output / f"{name}.json"
    with replacing(file) as beside:
        write_json(beside, record)
    return file, record


def data_fingerprint(sequences: Sequence[Video]) -> str:
    """Return a hash of the names of all sequences and images, the sizes of the images, and the annotations' bytes."""
    digest = sha256()
    for sequence in sorted(sequences, key=lambda sequence: sequence.name):
        lines = [sequence.name, *(f"{frame.name} {frame.stat().st_size}" for frame in sequence.frames)]
        digest.update("\n".join(lines).encode())
        for part in DESCRIPTIONS:
            file = sequence.frames[0].parents[1] / part
            if file.is_file():
                digest.update(f"\n{part} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _percent(scores: Scores) -> dict[str, float]:
    """Return metrics in percent and counts, by the names of the tables."""
    combined = scores.combined
    return {metric: 100 * combined[metric] for metric in PERCENT} | {
        shown: combined[metric] for metric, shown in NUMBERS.items()
    }


def _pack(
    evaluation: Evaluation, weights: Path, output: Path, server: SubmissionFormat, partial: bool
) -> dict[str, Any] | None:
    """Track, and pack the results for a server; return what the record says of the archive on the first rank."""
    results, _ = evaluation.track(weights, output)
    if not evaluation.fabric.is_global_zero:
        return None
    sequences = sorted(evaluation.benchmark.sequences, key=lambda sequence: sequence.name)
    with ScoringProgress("packing") as progress:
        made = write_submission(
            server, sequences, results, output / f"{server}.zip", partial=partial, progress=progress
        )
    return {
        "archive": {
            "file": made.path.name,
            "sha256": digest_of(made.path),
            "files": len(made.members),
            "boxes": made.boxes,
            "notes": list(made.notes),
        }
    }
