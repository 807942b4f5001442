import pytest
from typer.testing import CliRunner

from memotr.cli.application import app
from memotr.errors import UserError
from memotr.export.description import describe
from memotr.export.info import describe_export
from tests.export.builders import onnx_bytes


@pytest.mark.parametrize(("name", "kind"), [("a.onnx", "ONNX"), ("a b.pt2", "torch.export")])
def test_an_export_is_described(genuine, model, tmp_path, name, kind):
    file = tmp_path / name
    if name.endswith("onnx"):
        file.write_bytes(onnx_bytes(describe(model.config)))
    else:
        file.write_bytes(genuine.read_bytes())
    found = describe_export(file)
    assert kind in found["kind"]
    assert found["variant"] == "dab"
    assert found["classes"].startswith("2: ")
    assert found["size"] == f"{file.stat().st_size / 1e6:.1f} MB"
    assert name in found["use"]
    assert "detections from" in CliRunner().invoke(app, ["info", str(file)]).output


def test_missing_exports_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.onnx: no such file"):
        describe_export(tmp_path / "none.onnx")
