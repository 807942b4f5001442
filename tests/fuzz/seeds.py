"""Small genuine inputs of every kind, made by the package's own writers; cases damage copies of them.

Each function fills one folder. JSON files that name the folder hold ``@BOX@/in`` instead, so that copies work anywhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from PIL import Image

from memotr.build import build_model
from memotr.config import Config, load_config
from memotr.io.bdd import BddSink
from memotr.published import BDD100K_CLASSES
from memotr.weights.convert import convert
from memotr.weights.model_files import save_model
from memotr.weights.published_names import published_state
from tests.data import layouts
from tests.evaluation.generated import write_rows, write_split
from tests.io.results import make_frame, make_tracks
from tests.io.videos import numbered_video

BOX = "@BOX@"
"""Placeholder for the working directory of a case, replaced when its files are written."""

SETTINGS = [
    "model.backbone.width=8",
    "model.hidden_dim=32",
    "model.ffn_dim=32",
    "model.num_queries=6",
    "model.num_levels=2",
    "model.num_decoder_layers=2",
    "model.num_heads=2",
    "model.memory_heads=2",
    "input={short_side: 64, longest_side: 96}",
]
"""Settings over the preset ``tiny`` for the smallest network that has every part."""

TRAINING = [
    "data.workers=0",
    "data.sampling={lengths: [2], steps: [], interval: 1}",
    "data.augmentation={short_sides: [64], longest_side: 96, crop: 0}",
    "training.epochs=1",
    "training.batch_size=1",
    "training.output.log_every=1",
]

SMALL = {"length": 2, "size": (48, 64), "objects": 3}


def make_seeds(folder: Path, *, exports: bool) -> None:
    """Fill a folder with one subfolder per entry of :data:`SEEDS`; exported trackers take a minute."""
    for name, make in SEEDS.items():
        place = folder / name
        place.mkdir(parents=True)
        make(place)
        for file in place.rglob("*.json"):
            file.write_text(file.read_text(encoding="utf-8").replace(str(place), f"{BOX}/in"), encoding="utf-8")
    if exports:
        make_exports(folder / "exports")


def small_config(*more: str) -> Config:
    return load_config("tiny", [*SETTINGS, *more])


def small_model(config: Config) -> torch.nn.Module:
    """Return a model with repeating weights, which compress well, whose queries all score above the thresholds."""
    model = build_model(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and "norm" not in name and tensor.ndim > 1:
                tensor.copy_((torch.arange(tensor.numel()).reshape(tensor.shape) % 13 - 6) / 64)
        for head in model.class_embed:  # type: ignore[union-attr]
            head.weight.zero_()
            head.bias.fill_(1)
    return model


def _mot(folder: Path) -> None:
    write_split(folder, ("MOT17-02", "MOT17-04"), frames=5)
    (folder / "map.txt").write_text("name\nMOT17-02\nMOT17-04\n")


def _scored(folder: Path) -> None:
    """Write two scored runs, and images of one sequence."""
    from memotr.evaluation.score_files import write_scores
    from memotr.evaluation.scoring import evaluate

    gt, results = write_split(folder, ("MOT17-02", "MOT17-04"), frames=4)
    for number in range(1, 5):
        layouts.write_image(gt / "MOT17-02" / "img1" / f"{number:06d}.jpg", np.full((60, 80, 3), 40 * number, np.uint8))
    source = {"ground_truth": str(gt), "results": str(results), "format": "auto", "split": None, "seqmap": None}
    source |= {"sequences": None, "half": False}
    for name in ("a", "b"):
        write_scores(folder / name, evaluate(gt, results, workers=1), title=name, source=source)


def _dancetrack(folder: Path) -> None:
    for name, scene in layouts.write_dancetrack(folder, sequences=1, **SMALL)["test"].items():
        rows = [(f + 1, i, *box, 1, -1, -1, -1) for f in range(scene.length) for i, _, *box in scene.boxes(f)]
        write_rows(folder / "results" / f"{name}.txt", rows)
    _tracker(folder)


def _bdd100k(folder: Path) -> None:
    for name, scene in layouts.write_bdd100k(folder, videos=1, **SMALL)["val"].items():
        with BddSink(folder / "results" / f"{name}.json", video_name=name) as sink:
            for k in range(scene.length):
                boxes = [[float(x), float(y), float(x + w), float(y + h)] for _, _, x, y, w, h in scene.boxes(k)]
                tracks = make_tracks(boxes, frame=k, ids=[i for i, *_ in scene.boxes(k)], names=BDD100K_CLASSES)
                sink.write(make_frame(k), tracks)
    config = small_config(f"classes={json.dumps(BDD100K_CLASSES)}")
    save_model(small_model(config), folder / "eight.safetensors")  # type: ignore[arg-type]


def _coco_video(folder: Path) -> None:
    layouts.write_coco_video(folder / "data", videos=1, **SMALL)
    rows = [(1, 1, 3, 3, 20, 20, 1, 1, -1, -1), (2, 1, 4, 3, 20, 20, 1, 1, -1, -1)]
    write_rows(folder / "results" / "clip0001.txt", rows)


def _described(folder: Path) -> None:
    """Write a data set with a dataset.yaml."""
    layouts.write_dancetrack(folder, sequences=1, **SMALL)
    described = {"format": "mot", "classes": {1: "person", 2: "car"}, "splits": {"train": "train", "val": "val"}}
    described["seqmaps"] = {"train": "train_seqmap.txt"}
    (folder / "DanceTrack" / "dataset.yaml").write_text(yaml.safe_dump(described))


def _tracker(folder: Path) -> None:
    save_model(small_model(small_config()), folder / "one.safetensors", epoch=3)  # type: ignore[arg-type]


def _weights(folder: Path) -> None:
    """Write a tracker in all layouts, and files of tensors that are no tracker."""
    config = small_config()
    _tracker(folder)
    convert(folder / "one.safetensors", folder / "one.pth")
    shutil.copy(folder / "one.pth", folder / "one.pt")
    (folder / "config.yaml").write_text(config.to_yaml())
    scrap = {"det_query_embed": torch.ones(2, 4), "query_updater.a": torch.arange(3), "b": torch.ones(2).half()}
    torch.save({"model": scrap, "epoch": 2}, folder / "scrap.pth")
    torch.save(scrap, folder / "old.pth", _use_new_zipfile_serialization=False)
    layouts.write_image(folder / "one.png", layouts.Scene(size=(32, 48)).image(0))


def _published(folder: Path) -> None:
    """Write a configuration with the authors' keys beside bare weights."""
    config = small_config()
    torch.save({"model": published_state(small_model(config)), "states": {"start_epoch": 2}}, folder / "bare.pth")
    model = config.model
    settings = {
        "DATASET": "DanceTrack",
        "USE_DAB": True,
        "HIDDEN_DIM": model.hidden_dim,
        "FFN_DIM": model.ffn_dim,
        "NUM_FEATURE_LEVELS": model.num_levels,
        "NUM_HEADS": model.num_heads,
        "NUM_ENC_LAYERS": model.num_encoder_layers,
        "NUM_DEC_LAYERS": model.num_decoder_layers,
        "NUM_DET_QUERIES": model.num_queries,
        "DET_SCORE_THRESH": 0.5,
        "MISS_TOLERANCE": 30,
        "SAMPLE_LENGTHS": [2, 3],
        "SAMPLE_STEPS": [6],
        "SAMPLE_INTERVALS": [10],
        "LR": 0.0002,
        "EPOCHS": 20,
        "BACKBONE": "resnet50",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    layouts.write_image(folder / "one.png", layouts.Scene(size=(32, 48)).image(0))


def _huggingface(folder: Path) -> None:
    from memotr.weights.huggingface import to_huggingface
    from memotr.weights.pretrained import _PREFIXES
    from memotr.weights.tensor_files import write_safetensors

    model = small_model(small_config("model.variant=deformable-detr"))
    official = {}
    for name, tensor in published_state(model).items():
        prefixes = [(theirs, ours) for theirs, ours in _PREFIXES.items() if name.startswith(ours)]
        theirs, ours = max(prefixes, key=lambda pair: len(pair[1]), default=("", ""))
        if not name.startswith("query_updater."):
            official[theirs + name.removeprefix(ours)] = tensor.clone()
    settings = {"model_type": "deformable_detr", "decoder_layers": 2, "encoder_layers": 1, "d_model": 32}
    settings |= {"num_queries": 6, "two_stage": False, "with_box_refine": True, "position_embedding_type": "sine"}
    settings["backbone_config"] = {"layer_type": "bottleneck", "depths": [1, 1, 1, 1]}  # type: ignore[assignment]
    (folder / "config.json").write_text(json.dumps(settings))
    tensors = {name: tensor.clone() for name, tensor in to_huggingface(official).items()}
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})


def _trained(folder: Path) -> None:
    """Write a data set, a configuration for it, and the folder of a training run."""
    from memotr.training.train import train

    layouts.write_dancetrack(folder / "data", sequences=1, **SMALL)
    config = small_config(*TRAINING, "data.train=[{path: DanceTrack}]")
    (folder / "config.yaml").write_text(config.to_yaml())
    config = small_config(*TRAINING, "data.train=[{path: DanceTrack}]", f"data.root={folder / 'data'}")
    train(config, folder / "run", device="cpu", devices=1)
    for file in (folder / "run").iterdir():
        if file.name not in ("last.pt", "config.yaml", "last.safetensors", "metrics.jsonl"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()


def _videos(folder: Path) -> None:
    size = {"height": 32, "width": 48}
    numbered_video(folder / "clip.mp4", 4, **size, audio=True)
    for name in ("clip.mkv", "clip.ts"):
        numbered_video(folder / name, 4, **size)
    numbered_video(folder / "clip.avi", 4, codec="mpeg4", **size)
    numbered_video(folder / "clip.mjpeg", 4, codec="mjpeg", pix_fmt="yuvj420p", **size)
    numbered_video(folder / "jpegs.mkv", 4, codec="mjpeg", pix_fmt="yuvj420p", **size)
    numbered_video(folder / "clip.gif", 4, codec="gif", pix_fmt="rgb8", **size)
    numbered_video(folder / "turned.mp4", 3, rotate=90, **size)
    _tracker(folder)


def _images(folder: Path) -> None:
    picture = layouts.Scene(size=(32, 48)).image(0)
    for ending in ("jpg", "png", "bmp", "webp", "tiff"):
        layouts.write_image(folder / f"one.{ending}", picture)
        for number in range(2):
            layouts.write_image(folder / ending / f"{number}.{ending}", picture)
    frames = [Image.fromarray(layouts.Scene(size=(32, 48)).image(k)) for k in range(2)]
    frames[0].save(folder / "one.gif", save_all=True, append_images=frames[1:])
    frames[0].convert("P").save(folder / "palette.png")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(folder / "deep.tiff")
    cv2.imwrite(str(folder / "alpha.png"), np.dstack((picture, picture[..., :1])))
    layouts.write_sequence(folder / "sequence", layouts.Scene(**SMALL))
    _tracker(folder)


def make_exports(folder: Path) -> None:
    from memotr.export.description import describe
    from memotr.export.program import trace, write_onnx, write_program

    model = small_model(small_config())
    _, program = trace(model)  # type: ignore[arg-type]
    write_program(program, folder / "tracker.pt2", describe(model.config))  # type: ignore[arg-type]
    write_onnx(program, folder / "tracker.onnx", describe(model.config))  # type: ignore[arg-type]


SEEDS: dict[str, Callable[[Path], None]] = {
    "mot": _mot,
    "scored": _scored,
    "dancetrack": _dancetrack,
    "mot17": lambda folder: layouts.write_mot17(folder, sequences=1, **SMALL) and None,
    "motsynth": lambda folder: layouts.write_motsynth(folder, sequences=1, **SMALL) and None,
    "crowdhuman": lambda folder: layouts.write_crowdhuman(folder, images=2, size=(48, 64)) and None,
    "bdd100k": _bdd100k,
    "coco_video": _coco_video,
    "generated": lambda folder: layouts.write_generated(folder) and None,
    "described": _described,
    "weights": _weights,
    "published": _published,
    "huggingface": _huggingface,
    "trained": _trained,
    "videos": _videos,
    "images": _images,
    "exports": lambda folder: numbered_video(folder / "clip.mp4", 2, height=32, width=48) and None,
}
