"""Writing a traced program."""

import pytest
import torch

from memotr.errors import UserError
from memotr.export.graph import _resolve
from memotr.export.program import METADATA_FILE, trace, write_program
from memotr.files import replacing
from tests.builders import tiny_model
from tests.full_disk import files_end_at, needs_limits


@needs_limits
def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path):
    program = torch.export.export(torch.nn.Linear(100, 100), (torch.zeros(2, 100),))
    path = tmp_path / "a.pt2"

    def write() -> None:
        with replacing(path, suffix=path.suffix) as part:
            write_program(program, part, {"made by": "test"})

    write()
    before = path.read_bytes()
    for size in (0, 5000, len(before) - 1):
        with files_end_at(size), pytest.raises(UserError, match=r"cannot write .*a\.pt2: File too large"):
            write()
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
    description = {METADATA_FILE: ""}
    torch.export.load(path, extra_files=description)
    assert description == {METADATA_FILE: '{"made by": "test"}'}


@pytest.mark.parametrize("variant", ["dab", pytest.param("deformable-detr", marks=pytest.mark.slow)])
def test_a_trace_calls_allowed_operators_only(variant):
    """The step can be traced for any number of tracks, and a reader of the file accepts its operators."""
    _, program = trace(tiny_model(variant))
    called = {node.target for node in program.graph.nodes if node.op == "call_function"}
    aten = [f"torch.ops.{target}" for target in map(str, called) if target.startswith("aten.")]
    assert len(aten) > 50
    assert all(_resolve(target) is not None for target in aten)
