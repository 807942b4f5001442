"""The examples of docs/extending.md, run as they stand and put where the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.formats import FORMATS
from memotr.errors import UserError
from memotr.evaluation.scoring import evaluate
from memotr.metrics import fields

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
EXAMPLES = {
    heading.lower(): code
    for heading, code in re.findall(r"^## (.*?)$.*?^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
}


def run(heading: str) -> dict[str, Any]:
    """Run an example; return its names."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(EXAMPLES[heading], f"docs/extending.md, {heading}", "exec"), names)
    return names


def test_every_example_is_tested() -> None:
    assert EXAMPLES.keys() == {"a data format", "a backbone", "a metric", "a memory", "a result file"}


def test_data_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data.layouts", "data.datasets"):
        monkeypatch.setattr(f"memotr.{name}.FORMATS", (*FORMATS, run("a data format")["Csv"]()))
    (tmp_path / "walk").mkdir()
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / "walk" / f"{number:03d}.jpg"), np.zeros((40, 60, 3), np.uint8))
    table = tmp_path / "walk.csv"
    table.write_text("frame,id,x1,y1,x2,y2\n1,7,10,5,30,25\n2,7,12,5,32,25\n")
    (sequence,) = load_split(DatasetSpec(tmp_path, "all"))
    assert [frame.boxes.tolist() for frame in sequence.boxes] == [[[10, 5, 30, 25]], [[12, 5, 32, 25]]]
    assert [frame.ids.tolist() for frame in sequence.boxes] == [[7], [7]]

    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "walk.txt").write_text("1,1,10,5,20,20,1,-1,-1,-1\n2,1,12,5,20,20,1,-1,-1,-1\n")
    assert evaluate(tmp_path, tmp_path / "results").combined["HOTA"] == pytest.approx(1)

    table.write_text("frame,id,x1,y1,x2,y2\n1,7,10,5,30,25\n2,7,12,five,32,25\n")
    with pytest.raises(UserError, match=r"walk\.csv:3: expected numbers for frame, id, x1, y1, x2, y2"):
        load_split(DatasetSpec(tmp_path, "all"))


def test_backbone() -> None:
    names = run("a backbone")
    assert [m.shape[1:] for m in names["model"].backbone(torch.zeros(1, 3, 64, 96))] == [
        (32, 8, 12),
        (64, 4, 6),
        (128, 2, 3),
    ]
    assert names["tracks"].frame == 0
    fresh = names["PlainBackbone"]()
    assert fresh.load(dict(list(fresh.state_dict().items())[2:])) == ["stages.0.0.weight", "stages.0.0.bias"]
    with pytest.raises(ValueError, match="size mismatch for stages"):
        fresh.load({"stages.0.0.bias": torch.zeros(3)})


def test_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "METRICS", (*fields.METRICS, run("a metric")["coverage"]))
    near, far = np.array([[0.6], [0.2]]), np.array([[0.1], [0.4]])  # object 0 is found in the first frame
    part = fields.score(
        {
            "gt_ids": [np.array([0, 1])] * 2,
            "tracker_ids": [np.array([0])] * 2,
            "similarity_scores": [near, far],
            "num_gt_ids": 2,
            "num_tracker_ids": 1,
            "num_gt_dets": 4,
            "num_tracker_dets": 2,
            "num_timesteps": 2,
        }
    )
    assert part["Coverage"] == 0.5
    both = fields.summary(fields.combine([part, part]))
    assert (both["Coverage"], both["FoundObjects"], both["Objects"]) == (0.5, 2, 4)
    assert fields.class_mean([part, part])["Coverage"] == 0.5


def test_memory() -> None:
    names = run("a memory")
    model = names["model"].eval()
    assert type(model.query_updater) is names["ScoredMemory"]
    tracks = model.no_tracks()
    assert len(model.memory(tracks)) == 0
    n, dim = 2, model.dim
    tracks = tracks.replace(
        **{
            field: torch.rand(n, *getattr(tracks, field).shape[1:])
            for field in ("logits", "boxes", "ref_pts", "query_embed", "output_embed", "last_output", "long_memory")
        },
        **{
            field: torch.zeros(n, *getattr(tracks, field).shape[1:], dtype=getattr(tracks, field).dtype)
            for field in ("ids", "labels", "disappear_time", "seen_boxes")
        },
    )
    tracks = tracks.replace(logits=torch.full((n, model.num_classes), 2.0))
    with torch.inference_mode():
        moved = model.memory(tracks).long_memory - tracks.long_memory
        full = 0.01 * (tracks.output_embed - tracks.long_memory)
    assert torch.allclose(moved, torch.tensor(2.0).sigmoid() * full, atol=1e-6)
    assert moved.shape == (n, dim)


def test_result_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), np.zeros((40, 60, 3), np.uint8))
    run("a result file")
    lines = (tmp_path / "counts.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["0", "0", "0"]
