"""Tiny data sets in every layout: coloured rectangles that move over a patterned ground, as real JPEGs.

Every writer returns the scenes that it wrote, by name of sequence: what a reader must find. Files that the real data
sets have and readers must not stumble over (ignored rows, crowds, detector copies, detections) are there, too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.sequences import Sequence

BDD100K_CATEGORIES = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")


@dataclass(frozen=True)
class Scene:
    """A video of rectangles, the same for the same seed.

    Attributes:
        seed: chooses everything random.
        length: frames.
        size: (height, width) in pixels.
        objects: how many ids there are in all; every third is away for some frames in the middle.
        classes: how many classes; an object's class shows in its proportions.
    """

    seed: int = 0
    length: int = 8
    size: tuple[int, int] = (96, 160)
    objects: int = 4
    classes: int = 1

    def boxes(self, frame: int) -> list[tuple[int, int, int, int, int, int]]:
        """(id from 1, label from 0, left, top, width, height) of every object in this frame, whole pixels."""
        height, width = self.size
        rng = np.random.default_rng([self.seed, 1])
        found = []
        for number in range(1, self.objects + 1):
            start, speed = rng.uniform(0, 1, 2), rng.uniform(-0.06, 0.06, 2)
            label = (number - 1) % self.classes
            tall = rng.uniform(0.2, 0.4) * height
            wide = max(8.0, tall * (0.5 + 0.9 * label / max(1, self.classes - 1)))
            away = self.length >= 6 and number % 3 == 0 and self.length // 3 <= frame < self.length // 2
            if not away:
                x, y = (_bounce(s + v * frame) for s, v in zip(start, speed, strict=True))
                box = round(x * (width - wide)), round(y * (height - tall)), round(wide), round(tall)
                found.append((number, label, *box))
        return found

    def image(self, frame: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR; an id keeps its colour."""
        noise = np.random.default_rng([self.seed, 2]).integers(60, 140, (*self.size, 3)).astype(np.uint8)
        image = cv2.GaussianBlur(noise, (0, 0), 3)
        for number, label, left, top, wide, tall in self.boxes(frame):
            hue = np.array([[[(number * 47 + self.seed * 13) % 180, 230, 240 - 20 * label]]], np.uint8)
            color = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
            cv2.rectangle(image, (left, top), (left + wide - 1, top + tall - 1), color, -1)
            cv2.rectangle(image, (left, top), (left + wide - 1, top + tall - 1), (20, 20, 20), 1)
        return np.asarray(image, np.uint8)


def _bounce(position: float) -> float:
    """Back and forth within [0, 1]."""
    return 1 - abs(1 - position % 2)


def scenes(prefix: str, count: int, *, seed: int = 0, length: int = 8, **settings: Any) -> dict[str, Scene]:
    """Scenes that differ, the k-th one frame longer than the one before it."""
    return {f"{prefix}{k + 1:04d}": Scene(seed + k, length + k, **settings) for k in range(count)}


def read_dataset(root: Path, split: str = "train", *, ground_truth: bool = True) -> list[Sequence]:
    """Read a split of a data set."""
    return load_split(DatasetSpec(root, split), ground_truth=ground_truth)


def found_in(sequence: Sequence) -> list[list[tuple[int, int, int, int, int, int]]]:
    """What ``Scene.boxes`` gives for every frame, from the sequence that a reader made of it."""
    assert sequence.boxes is not None
    return [
        [
            (i, label, x1, y1, x2 - x1, y2 - y1)
            for i, label, (x1, y1, x2, y2) in zip(
                frame.ids.tolist(), frame.labels.tolist(), frame.boxes.tolist(), strict=True
            )
        ]
        for frame in sequence.boxes
    ]


def expected_of(scene: Scene) -> list[list[tuple[int, int, int, int, int, int]]]:
    """The same of a scene."""
    return [scene.boxes(frame) for frame in range(scene.length)]


def write_image(file: Path, image: NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), image)


def write_text(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


# MOTChallenge: frames and ids from 1.


def write_sequence(
    folder: Path,
    scene: Scene,
    *,
    digits: int = 6,
    extra_rows: list[str] | None = None,
    ground_truth: bool = True,
    seqinfo: bool = True,
    with_class: bool = False,
) -> None:
    """``img1``, ``gt/gt.txt`` (class column 1, or the object's label + 1) and ``seqinfo.ini``."""
    for frame in range(scene.length):
        write_image(folder / "img1" / f"{frame + 1:0{digits}d}.jpg", scene.image(frame))
    if ground_truth:
        rows = [
            f"{frame + 1},{number},{left},{top},{wide},{tall},1,{label + 1 if with_class else 1},1"
            for frame in range(scene.length)
            for number, label, left, top, wide, tall in scene.boxes(frame)
        ]
        rows.sort(key=lambda row: [int(value) for value in row.split(",")[1::-1]])  # by id, then frame, as MOT17 does
        write_text(folder / "gt" / "gt.txt", rows + (extra_rows or []))
    if seqinfo:
        height, width = scene.size
        info = {"name": folder.name, "imDir": "img1", "frameRate": 20, "seqLength": scene.length}
        info |= {"imWidth": width, "imHeight": height, "imExt": ".jpg"}
        write_text(folder / "seqinfo.ini", ["[Sequence]"] + [f"{key}={value}" for key, value in info.items()])


def write_dancetrack(data_root: Path, *, sequences: int = 2, **settings: Any) -> dict[str, dict[str, Scene]]:
    """``DanceTrack/{train,val,test}`` with seqmaps; frame files of 8 digits; the test split has no ground truth."""
    root, written = data_root / "DanceTrack", {}
    for k, split in enumerate(("train", "val", "test")):
        written[split] = scenes("dancetrack", sequences, seed=100 * k, **settings)
        for name, scene in written[split].items():
            write_sequence(root / split / name, scene, digits=8, ground_truth=split != "test")
        write_text(root / f"{split}_seqmap.txt", ["name", *written[split]])
    return written


def write_sportsmot(data_root: Path, *, sequences: int = 2, **settings: Any) -> dict[str, dict[str, Scene]]:
    """``SportsMOT/{train,val,test}``; frame files of 6 digits."""
    root, written = data_root / "SportsMOT", {}
    for k, split in enumerate(("train", "val", "test")):
        written[split] = scenes("v_sport_c", sequences, seed=1000 + 100 * k, **settings)
        for name, scene in written[split].items():
            write_sequence(root / split / name, scene, ground_truth=split != "test")
    return written


def write_mot17(data_root: Path, *, sequences: int = 2, **settings: Any) -> dict[str, dict[str, Scene]]:
    """``MOT17/images/{train,test}``: three copies of each video; rows of other classes and of mark 0."""
    root, written = data_root / "MOT17" / "images", {}
    extra = ["1,90,10,10,20,20,0,1,0.5", "2,91,20,20,30,15,0,7,1", "3,92,5,5,40,40,1,3,0.2", "2,93,30,30,9,9,0,11,0"]
    for k, split in enumerate(("train", "test")):
        written[split] = {}
        for name, scene in scenes("MOT17-", sequences, seed=2000 + 100 * k, **settings).items():
            for detector in ("DPM", "FRCNN", "SDP"):
                written[split][f"{name}-{detector}"] = scene
                folder = root / split / f"{name}-{detector}"
                write_sequence(folder, scene, extra_rows=extra, ground_truth=split == "train")
                write_text(folder / "det" / "det.txt", ["1,-1,10,10,20,20,0.9,-1,-1,-1"])
    return written


def write_motsynth(data_root: Path, *, sequences: int = 2, **settings: Any) -> dict[str, Scene]:
    """``MOTSynth/{frames/<seq>/rgb/0001.jpg, gts/<seq>/gt/gt.txt}``; a row of visibility 0."""
    root, written = data_root / "MOTSynth", scenes("", sequences, seed=3000, **settings)
    for name, scene in written.items():
        rows = ["2,99,4,4,20,20,1,1,0"]
        for frame in range(scene.length):
            write_image(root / "frames" / name / "rgb" / f"{frame + 1:04d}.jpg", scene.image(frame))
            rows += [f"{frame + 1},{i},{x},{y},{w},{h},1,1,0.5" for i, _, x, y, w, h in scene.boxes(frame)]
        write_text(root / "gts" / name / "gt" / "gt.txt", rows)
    return written


# CrowdHuman: still images.


def write_crowdhuman(data_root: Path, *, images: int = 4, **settings: Any) -> dict[str, dict[str, Scene]]:
    """``CrowdHuman``: besides its persons every line has an ignored one and a mask."""
    root, written = data_root / "CrowdHuman", {}
    for k, split in enumerate(("train", "val")):
        stills = scenes("273271,", images, seed=4000 + 100 * k, length=1, **settings)
        written[split] = {name: Scene(scene.seed, 1, scene.size, scene.objects) for name, scene in stills.items()}
        lines = []
        for name, scene in written[split].items():
            write_image(root / "images" / split / f"{name}.jpg", scene.image(0))
            boxes: list[dict[str, Any]] = [
                {"tag": "person", "fbox": [1, 1, 30, 30], "vbox": [1, 1, 9, 9], "extra": {"box_id": 0, "ignore": 1}},
                {"tag": "mask", "fbox": [2, 2, 30, 30], "vbox": [2, 2, 9, 9], "extra": {}},
            ]
            for i, _, x, y, w, h in scene.boxes(0):
                boxes.append({"tag": "person", "fbox": [x, y, w, h], "vbox": [x, y, w, h], "extra": {"box_id": i}})
            lines.append(json.dumps({"ID": name, "gtboxes": boxes}))
        write_text(root / f"annotation_{split}.odgt", lines)
    return written


# BDD100K: Scalabel JSON, a file a video.


def write_bdd100k(data_root: Path, *, videos: int = 2, **settings: Any) -> dict[str, dict[str, Scene]]:
    """``BDD100K``: the eight categories, and in every frame a crowd and one each of the three other categories."""
    root, written = data_root / "BDD100K", {}
    for k, split in enumerate(("train", "val")):
        written[split] = scenes("b1c66a42-", videos, seed=5000 + 100 * k, **{"objects": 8, "classes": 8} | settings)
        for name, scene in written[split].items():
            frames = []
            for frame in range(scene.length):
                image = f"{name}-{frame + 1:07d}.jpg"
                write_image(root / "images" / "track" / split / name / image, scene.image(frame))
                labels = [_scalabel("00099", "car", (5, 5, 40, 20), crowd=True)]
                labels += [
                    _scalabel(f"a-{i:05d}", BDD100K_CATEGORIES[label], box) for i, label, *box in scene.boxes(frame)
                ]
                others = ("other person", "other vehicle", "trailer")
                labels += [_scalabel(f"o-{k}", name, (50, 50, 9, 9)) for k, name in enumerate(others)]
                frames.append({"name": image, "videoName": name, "frameIndex": frame, "labels": labels})
            write_json(root / "labels" / "box_track_20" / split / f"{name}.json", frames)
    return written


def _scalabel(name: str, category: str, box: Any, crowd: bool = False) -> dict[str, Any]:
    x, y, w, h = box
    attributes = {"occluded": False, "truncated": False, "crowd": crowd}
    corners = {"x1": x, "y1": y, "x2": x + w, "y2": y + h}
    return {"id": name, "category": category, "attributes": attributes, "box2d": corners}


# COCO-style video JSON.


def write_coco_video(
    root: Path,
    *,
    videos: int = 2,
    categories: dict[int, str] | None = None,
    track_key: str = "track_id",
    **settings: Any,
) -> dict[str, dict[str, Scene]]:
    """``annotations/{train,val}.json`` with images under ``images/{split}/<video>``; category ids in no order."""
    categories = categories or {9: "bus", 2: "car"}
    ids, written = sorted(categories), {}
    for k, split in enumerate(("train", "val")):
        written[split] = scenes("clip", videos, seed=6000 + 100 * k, **{"classes": len(ids)} | settings)
        images, annotations = [], []
        for v, (name, scene) in enumerate(written[split].items(), 1):
            for frame in range(scene.length):
                file = f"{name}/img_{frame}.jpg"
                write_image(root / "images" / split / file, scene.image(frame))
                height, width = scene.size
                images.append({"id": len(images) + 1, "video_id": v, "frame_id": frame, "file_name": file})
                images[-1] |= {"height": height, "width": width}
                for i, label, *box in scene.boxes(frame):
                    annotations.append({"id": len(annotations) + 1, "image_id": len(images), track_key: i})
                    annotations[-1] |= {"category_id": ids[label], "bbox": box, "iscrowd": 0}
                annotations.append({"id": len(annotations) + 1, "image_id": len(images), "category_id": ids[0]})
                annotations[-1] |= {"bbox": [0, 0, 9, 9], "iscrowd": 1}
        content = {
            "videos": [{"id": v, "name": name, "fps": 10} for v, name in enumerate(written[split], 1)],
            "images": images[::-1],  # readers must sort
            "annotations": annotations,
            "categories": [{"id": key, "name": name} for key, name in categories.items()],
        }
        write_json(root / "annotations" / f"{split}.json", content)
    return written


# Text as the published scripts write it, beside the images of the three data sets that need it.


def write_generated(data_root: Path) -> dict[str, dict[str, Scene]]:
    """The ``train`` splits of MOT17, CrowdHuman and BDD100K with their text and without their own ground truth."""
    mot17 = write_mot17(data_root)["train"]
    for name, scene in mot17.items():
        (data_root / "MOT17" / "images" / "train" / name / "gt" / "gt.txt").unlink()
        for frame in range(scene.length):
            rows = [f"0 {i} {x} {y} {w} {h} 1.000000" for i, _, x, y, w, h in scene.boxes(frame)]
            write_text(data_root / "MOT17" / "gts" / "train" / name / "img1" / f"{frame + 1:06d}.txt", rows)
    crowdhuman = write_crowdhuman(data_root)["train"]
    (data_root / "CrowdHuman" / "annotation_train.odgt").unlink()
    count = 0
    for name, scene in crowdhuman.items():
        rows = [f"0 {count + i} {x} {y} {w} {h}" for i, _, x, y, w, h in scene.boxes(0)]
        count += len(rows)
        write_text(data_root / "CrowdHuman" / "gts" / "train" / f"{name}.txt", rows)
    bdd100k = write_bdd100k(data_root)["train"]
    for name, scene in bdd100k.items():
        folder = data_root / "BDD100K" / "filter_labels" / "track" / "train" / name
        for frame in range(scene.length):
            rows = [f"{label + 1} {i} {x:.6f} {y:.6f} {w:.6f} {h:.6f}" for i, label, x, y, w, h in scene.boxes(frame)]
            write_text(folder / f"{name}-{frame + 1:07d}.txt", rows)
    return {"MOT17": mot17, "CrowdHuman": crowdhuman, "BDD100K": bdd100k}
