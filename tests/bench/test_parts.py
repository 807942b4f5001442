import json

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from memotr.bench import parts
from memotr.bench.options import Options
from memotr.bench.parts import PARTS, run_benchmark
from memotr.cli import app
from memotr.config import load_config
from memotr.errors import UserError


def shrunk():
    """The tiny preset made smaller."""
    config = load_config("tiny", ["model.num_queries=10", "model.num_decoder_layers=2", "model.ffn_dim=64"])
    return Options(config).quick()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SLOW = {"contention", "start"}


@pytest.mark.parametrize(
    "part", [pytest.param(p, marks=pytest.mark.slow) if p in SLOW else p for p in PARTS if p != "ladder"]
)
def test_every_part_runs_and_is_written(part, tmp_path):
    report = run_benchmark(shrunk(), [part], tmp_path, Console(quiet=True))
    tables = report.parts[part]
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [table["title"] for table in written["parts"][part]] == [table.title for table in tables]
    assert "PyTorch" in written["machine"]["software"]
    text = (tmp_path / "bench.md").read_text()
    assert all(f"**{table.title}**" in text for table in tables)
    for row in (row for table in tables for row in table.rows if "times as fast" in row):
        assert len(row[next(column for column in row if column.startswith("ms"))].values) == 2, "both rounds"
        assert row["times as fast"] == 1 or len(row["times as fast"].values) == 2


def test_a_frame_of_ours_is_that_of_the_baseline(tmp_path):
    by_way, by_tracks = run_benchmark(shrunk(), ["frame"], tmp_path, Console(quiet=True)).parts["frame"]
    differences = {row["contender"]: row["largest difference"] for row in by_way.rows}
    assert next(iter(differences)) == "baseline"
    exact = {name: difference for name, difference in differences.items() if "bf16" not in name}
    assert len(exact) == 4
    assert max(exact.values()) < 1e-4
    assert 1e-4 < differences["ours, bf16"] < 0.5
    assert [row["tracks"] for row in by_tracks.rows] == [0, 0, 0, 3, 3, 3]


def test_all_operators_give_the_same_numbers(tmp_path):
    layers = run_benchmark(shrunk(), ["operator"], tmp_path, Console(quiet=True)).parts["operator"]
    rows = [row for table in layers for row in table.rows]
    assert {row["direction"] for row in rows} == {"forward", "backward"}
    assert max(row["largest difference"] for row in rows if row["values"] == "float32") < 1e-4


def test_both_evaluations_have_the_same_hota(tmp_path):
    tables = run_benchmark(shrunk(), ["evaluation"], tmp_path, Console(quiet=True)).parts["evaluation"]
    scores = [row["HOTA"] for table in tables for row in table.rows]
    assert len(scores) == 4
    assert scores == pytest.approx([scores[0]] * 4)
    assert 0 < scores[0] < 100


def test_a_missing_package_is_reported_before_anything_is_measured(tmp_path, monkeypatch):
    def lacking(name):
        raise ModuleNotFoundError("no", name="trackeval")

    monkeypatch.setattr(parts, "import_module", lacking)
    with pytest.raises(ModuleNotFoundError):
        run_benchmark(shrunk(), ["frame", "evaluation"], tmp_path, Console(quiet=True))
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path):
    arguments = ["bench", "operator", "--quick", "--rounds", "1", "--size", "32x64", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "32×64" in result.stdout
    assert str(tmp_path / "bench.md") in result.stdout
    assert "## Operator" in (tmp_path / "bench.md").read_text()


@pytest.mark.parametrize("size", ["0x0", "64x0"])
def test_a_size_without_pixels_is_refused(size, tmp_path):
    arguments = ["bench", "operator", "--quick", "--size", "32x64", "--size", size, "--output", str(tmp_path)]
    with pytest.raises(UserError, match=f"size '{size}': write height and width, each 1 to 10,000 pixels"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_an_unknown_part_is_refused():
    with pytest.raises(UserError, match=r"unknown part 'frames': choose from operator, frame, "):
        CliRunner().invoke(app, ["bench", "frames"], catch_exceptions=False)
