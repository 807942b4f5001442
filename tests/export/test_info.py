import pytest
from typer.testing import CliRunner

from memotr.cli.application import app
from memotr.errors import UserError
from memotr.export.info import describe_export
from tests.builders import tiny_model
from tests.export.builders import EagerEngine


@pytest.mark.parametrize(("name", "kind"), [("a.onnx", "ONNX"), ("a b.pt2", "torch.export")])
def test_an_export_is_described(tmp_path, monkeypatch, name, kind):
    monkeypatch.setattr("memotr.export.info.open_engine", lambda path, device: EagerEngine(tiny_model("dab", 3)))
    file = tmp_path / name
    file.write_bytes(b"." * 200_000)
    (tmp_path / f"{name}.data").write_bytes(b"." * 1_000_000)
    found = describe_export(file)
    assert kind in found["kind"]
    assert found["variant"] == "dab"
    assert found["classes"].startswith("3: ")
    assert found["size"] == "1.2 MB", "with the weights that ONNX may keep in a second file"
    assert name in found["use"]
    assert "detections from" in CliRunner().invoke(app, ["info", str(file)]).output


def test_what_is_no_export_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.onnx: no such file"):
        describe_export(tmp_path / "none.onnx")
