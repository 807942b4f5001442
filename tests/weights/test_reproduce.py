"""`memotr reproduce` on small stand-ins of the data sets, with weights that a local server sends."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from memotr.build import build_model
from memotr.config import load_config
from memotr.data.datasets import DatasetSpec, load_split
from memotr.evaluation.benchmark import load_benchmark
from memotr.evaluation.scoring import evaluate
from memotr.reproduce import TARGETS, data_fingerprint
from memotr.vocabulary import Reproduction
from memotr.weights.cache import digest_of
from memotr.weights.published_names import published_state
from memotr.weights.registry import named_weights
from tests.data import layouts
from tests.evaluation.test_commands import Command, memotr  # noqa: F401 (a fixture)
from tests.weights.server import Reply, Site

pytest.importorskip("gdown")


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, site: Site) -> bytes:
    """Content of a small tracker that finds something, under the names of the published ones."""
    torch.manual_seed(0)
    model = build_model(load_config("tiny"))
    with torch.no_grad():
        for head in model.class_embed:
            head.weight.mul_(8)
            head.bias.zero_()
    stream = io.BytesIO()
    torch.save({"model": published_state(model)}, stream)
    for name in ("dancetrack", "mot17"):
        place = site.put(f"/{name}", Reply(stream.getvalue()))
        entry = replace(named_weights()[name], preset="tiny", places=(place,))
        monkeypatch.setitem(named_weights(), name, entry)  # type: ignore[arg-type]
    return stream.getvalue()


def test_a_split_that_is_scored(memotr: Command, weights: bytes, site: Site, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path)
    command = ("reproduce", "dancetrack-val", "--dataset", tmp_path / "DanceTrack", "--partial", "--device", "cpu")
    code, out, errors = memotr(*command)
    assert code == 0, errors
    folder = tmp_path / "outputs" / "reproduce" / "dancetrack-val"
    assert out.endswith(f"wrote {folder.relative_to(tmp_path) / 'dancetrack-val.json'}\n")
    text = (folder / "dancetrack-val.json").read_text()
    record = json.loads(text)
    benchmark = load_benchmark(tmp_path / "DanceTrack", split="val")
    assert benchmark.truth is not None
    scores = evaluate(benchmark.truth, folder / "results").combined
    assert scores["DetA"] > 0
    assert record["scores"]["HOTA"] == 100 * scores["HOTA"]
    assert (record["scores"]["IDSW"], record["scores"]["IDs"]) == (scores["IDSW"], scores["IDs"])
    assert f"  HOTA {100 * scores['HOTA']:8.1f}\n" in out
    assert record["weights"]["sha256"] == digest_of(tmp_path / "home/weights/dancetrack/memotr_dancetrack.pth")
    assert record["data"] == {
        "name": "DanceTrack",
        "split": "val",
        "complete": False,
        "sequences": 2,
        "frames": benchmark.num_frames,
        "sha256": data_fingerprint(benchmark.sequences),
    }
    assert errors.count("fetching dancetrack") == 1
    published = load_config("tiny").model_dump(mode="json")
    assert record["settings"] == {key: published[key] for key in ("classes", "input", "tracking")}
    assert (record["target"], record["precision"], record["published"]) == ("dancetrack-val", "32", {})
    assert record["environment"]["device"] == "cpu"
    assert record["environment"]["packages"]["torch"] == torch.__version__
    assert str(tmp_path) not in text  # it is made to be sent to others
    memotr(*command)
    again = json.loads((folder / "dancetrack-val.json").read_text())
    assert {**again, "environment": None} == {**record, "environment": None}
    assert len(site.requests) == 1


def test_a_split_that_a_server_scores(memotr: Command, weights: bytes, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path)
    command = ("reproduce", "dancetrack-test", "--dataset", tmp_path / "DanceTrack", "--output", tmp_path / "out")
    code, out, errors = memotr(*command, "--partial", "--device", "cpu")
    assert code == 0, errors
    assert "for the server; published: HOTA 68.5, DetA 80.5, AssA 58.4\n" in out
    record = json.loads((tmp_path / "out" / "dancetrack-test.json").read_text())
    archive = tmp_path / "out" / "dancetrack.zip"
    assert (record["archive"]["file"], record["archive"]["sha256"]) == (archive.name, digest_of(archive))
    assert zipfile.ZipFile(archive).namelist() == ["tracker/dancetrack0001.txt", "tracker/dancetrack0002.txt"]
    assert record["published"] == {"HOTA": 68.5, "DetA": 80.5, "AssA": 58.4}
    assert "scores" not in record


def test_mot17(memotr: Command, weights: bytes, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_mot17(tmp_path)
    command = ("reproduce", "mot17-test", "--dataset", tmp_path / "MOT17", "--output", tmp_path / "out")
    code, _, errors = memotr(*command, "--device", "cpu")
    assert (code, errors.splitlines()[-1]) == (
        2,
        f"memotr: {tmp_path}/MOT17: has 2 sequences in test, and MOT17 has 7; complete the data set, or make a trial "
        "with --partial",
    )
    code, _, errors = memotr(*command, "--partial", "--device", "cpu")
    assert code == 0, errors
    assert json.loads((tmp_path / "out" / "mot17-test.json").read_text())["archive"]["files"] == 6


def test_other_weights_are_refused(memotr: Command, weights: bytes, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path)
    command = ("reproduce", "dancetrack-val", "--dataset", tmp_path / "DanceTrack", "--partial", "--device", "cpu")
    assert memotr("weights", "fetch", "dancetrack")[0] == 0
    (tmp_path / "home/weights/dancetrack/memotr_dancetrack.pth").write_bytes(weights[::-1])
    code, _, errors = memotr(*command)
    assert (code, errors.count("\n")) == (2, 1)
    assert "`memotr weights clear dancetrack` removes it" in errors


def test_fingerprint_of_data(tmp_path: Path) -> None:
    layouts.write_dancetrack(tmp_path)

    def fingerprint(root: Path) -> str:
        return data_fingerprint(load_split(DatasetSpec(root, "val")))

    first = fingerprint(tmp_path / "DanceTrack")
    shutil.copytree(tmp_path / "DanceTrack", tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == first
    truth = tmp_path / "copy/val/dancetrack0001/gt/gt.txt"
    truth.write_text(truth.read_text()[:-2] + "0\n")  # another visibility
    second = fingerprint(tmp_path / "copy")
    image = tmp_path / "copy/val/dancetrack0002/img1/00000003.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    third = fingerprint(tmp_path / "copy")
    assert len({first, second, third}) == 3


def test_targets() -> None:
    assert tuple(TARGETS) == get_args(Reproduction)
    for entry in named_weights().values():
        assert {target for target in entry.published if TARGETS[target].weights == entry.name} == set(entry.published)
