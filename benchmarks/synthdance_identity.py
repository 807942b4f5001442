"""How far a SynthDance tracker can tell the dancers apart by sight: without a memory, over long gaps.

memotr data synth SynthDance && python benchmarks/synthdance_identity.py SynthDance --weights synthdance

Every tenth frame is looked at as if it were a video's first. For each dancer whose box no other covers by more than
30 %, the most similar dancer 20 and 50 frames later should be the same one, where at least three are to choose from.
Similar is measured by cosine, on the channels of the loss of identities: of what the encoder has in the middle of the
true box, of the last layer that only detects, and of the last of all. For comparison: the colours at seven places of
the true box, hat to shoes.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table

from memotr import Tracker, load_model
from memotr.boxes import box_iou, cxcywh_to_xyxy
from memotr.data.datasets import DatasetSpec, load_split
from memotr.io.image_files import read_image

EVERY, GAPS = 10, (20, 50)
PLACES = (0.06, 0.1, 0.14, 0.3, 0.5, 0.55, 0.95)
"""Share of the height at which the middle of a figure has its hat, shirt, sash and shoes."""


def colours(image: np.ndarray, box: np.ndarray) -> torch.Tensor:
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    x = int(np.clip(box[[0, 2]].mean(), 1, image.shape[1] - 2))
    heights = [int(np.clip(box[1] + share * (box[3] - box[1]), 1, image.shape[0] - 2)) for share in PLACES]
    return torch.from_numpy(np.concatenate([lab[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1)) for y in heights]))


def uncovered(boxes: np.ndarray) -> np.ndarray:
    """(G,) bool, which boxes (G, 4) no other covers by more than 30 %."""
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2) * (1 - np.eye(len(boxes)))
    return (shared < 0.3 * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None]).all(axis=1)


@torch.inference_mode()
def look(tracker: Tracker, image: np.ndarray, boxes: np.ndarray) -> dict[str, torch.Tensor]:
    """Of every true box (G, 4) what represents it, by view: (G, C)."""
    model = tracker.model
    output = model(tracker.prepare(image).images, [model.no_tracks()], aux=True)[0]
    truth = torch.from_numpy(boxes / np.tile(image.shape[1::-1], 2)).float()
    half = model.dim // 2
    views = {
        "colours of seven places": torch.stack([colours(image, box) for box in boxes]),
        "encoder, middle of the box": output.encoded.at((truth[:, :2] + truth[:, 2:]) / 2)[:, :half],
    }
    merge = max(1, model.transformer.decoder.merge_layer)
    for name, layer in {"last layer that only detects": [*output.aux, output][merge - 1], "last layer": output}.items():
        fit = box_iou(cxcywh_to_xyxy(layer.boxes), truth)[0] * (0.01 + layer.logits.sigmoid().amax(1))[:, None]
        views[name] = layer.output_embed[fit.argmax(dim=0), :half]
    return views


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that memotr data synth made")
    parser.add_argument("--split", default="val")
    parser.add_argument("--weights", default="synthdance", help="a preset or a checkpoint")
    options = parser.parse_args()
    tracker = Tracker(load_model(options.weights))
    seen = defaultdict(list)  # by view and sequence: embedding, id, frame
    sequences = load_split(DatasetSpec(options.data, options.split))
    for sequence in track(sequences, console=Console(stderr=True)):
        for t in range(0, len(sequence), EVERY):
            truth = sequence.boxes[t]
            clear = uncovered(truth.boxes)
            if clear.any():
                for view, embeds in look(tracker, read_image(sequence.frames[t]), truth.boxes[clear]).items():
                    seen[view, sequence.name] += zip(embeds, truth.ids[clear].tolist(), [t] * clear.sum(), strict=True)

    right = defaultdict(list)
    for (view, _), sightings in seen.items():
        embeds = torch.stack([embed for embed, *_ in sightings])
        if view.startswith("colours"):
            embeds = (embeds - embeds.mean(0)) / embeds.std(0)
        ids, frames = (torch.tensor([each[i] for each in sightings]) for i in (1, 2))
        unit = F.normalize(embeds, dim=1)
        similarity = unit @ unit.T
        for i, later in ((i, frames[i] + gap) for i in range(len(ids)) for gap in GAPS):
            others = (frames == later).nonzero()[:, 0]
            if len(others) >= 3 and (ids[others] == ids[i]).any():
                right[view].append(bool(ids[others[similarity[i, others].argmax()]] == ids[i]))
    table = Table("what is compared", "right", "of", title=f"{options.weights}, {options.split}")
    for view, found in right.items():
        table.add_row(view, f"{100 * np.mean(found):.1f} %", str(len(found)))
    Console().print(table)


if __name__ == "__main__":
    main()
