"""Training data of a run: sequences, clips and batches from the settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from memotr.config import Config, DataConfig, SplitConfig
from memotr.data.clips import ClipDataset, ClipLoader, EpochSampler, Source
from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.formats.dataset_format import AnnotationFiles
from memotr.data.layouts import recognise
from memotr.data.problems import Problems
from memotr.data.sequences import Sequence
from memotr.errors import UserError


def read_split(
    data: DataConfig, split: SplitConfig, files: AnnotationFiles, problems: Problems | None = None
) -> list[Sequence]:
    """Return the annotated sequences of a split. Raises UserError, with file and line, if data is missing or wrong."""
    root = Path(data.root) / split.path
    if not root.exists() and split.path != ".":
        raise UserError(
            f"{root}: no such folder; --data-root is the folder that contains {split.path}. To train on your own data: "
            "memotr train --data FOLDER --pretrained NAME"
        )
    spec = DatasetSpec(root, split.split, split.format)
    return load_split(spec, files=files, problems=problems)


def read_sources(data: DataConfig, files: AnnotationFiles, problems: Problems) -> list[Source]:
    """Return the sources of training clips; notes about the data are added to ``problems``.

    Raises:
        UserError: data is missing or wrong; the message has file and line.
    """
    return [
        Source(read_split(data, source, files, problems), data.augmentation, source.weight, source.join_epoch)
        for source in data.train
    ]


def resolve_classes(config: Config, sources: Iterable[Source]) -> Config:
    """Return the configuration with the classes of the data, unless the configuration sets classes.

    Raises:
        UserError: the configuration sets other classes than the data has (a single class may have another name), or two
            classes of the data have the same name.
    """
    found = next(sequence.classes for source in sources for sequence in source.sequences)
    if len(set(found)) < len(found):  # the weights would contain a configuration that is refused when it is read
        raise UserError(f"the data has the classes {', '.join(found)}; give each a different name in dataset.yaml")
    if "classes" not in config.model_fields_set:
        return config.model_copy(update={"classes": found})
    if found != config.classes and not len(found) == len(config.classes) == 1:
        raise UserError(
            f"the data has the classes {', '.join(found)}, the configuration {', '.join(config.classes)}; "
            f"set classes=[{', '.join(found)}], or rename the classes of the data in dataset.yaml"
        )
    return config


def make_dataset(config: Config, sources: list[Source]) -> ClipDataset:
    """Return the dataset of training clips. Raises UserError if it has no clips."""
    seed, epochs = config.training.seed, config.training.epochs
    return ClipDataset(sources, config.data.sampling, seed=seed, epochs=epochs)


def make_loader(
    dataset: ClipDataset, config: Config, rank: int, world_size: int, device: torch.device
) -> tuple[ClipLoader, EpochSampler]:
    """Return the loader of batches for one of ``world_size`` ranks, and its sampler."""
    sampler = EpochSampler(
        dataset.size, batch_size=config.batch_size, rank=rank, world_size=world_size, seed=config.training.seed
    )
    loader = ClipLoader(dataset, sampler, workers=config.data.workers, pin_memory=device.type == "cuda")
    return loader, sampler


def with_validation(config: Config) -> Config:
    """Return the configuration with a validation split if validation is on: by default ``val`` of the first source.

    Raises:
        UserError: no split is configured, and the first training source has no split ``val``.
    """
    every, source = config.training.output.val_every, config.data.train[0]
    if not every or config.data.val is not None:
        return config
    path = Path(config.data.root) / source.path
    if path.exists() and "val" in recognise(path, source.format).splits:
        val = SplitConfig(path=source.path, split="val", format=source.format)
        return config.model_copy(update={"data": config.data.model_copy(update={"val": val})})
    raise UserError(
        f"--val-every {every}: {path} has no split val to validate on; set one, with a path relative to the data root: "
        f"data.val='{{path: {source.path}, split: val_half}}'"
    )
