"""What a stranger's weights may hold: nothing that runs, nothing that takes more memory than the file."""

import builtins
import operator
import os
import pickle
import runpy
import struct
import subprocess
import zipfile
from pathlib import PosixPath

import numpy as np
import pytest
import torch
from safetensors.torch import save

from memotr import load_model
from memotr.errors import UserError
from memotr.weights.checkpoint import SHARED_BOX_HEADS, read_checkpoint
from memotr.weights.describe import describe
from memotr.weights.model_files import save_model
from memotr.weights.published_names import published_state
from tests.builders import tiny_model
from tests.damage import anywhere_damaged, assert_read_or_refused, directory_damaged, few_or_many_seeds

scalar = np.float64(0).__reduce__()[0]


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = function, arguments, state

    def __reduce__(self):
        return self.reduced


def payloads(marker):
    """By the name that the refusal gives: values whose unpickling creates a folder."""
    make = f"__import__('os').mkdir({str(marker)!r})"
    return {
        f"{os.mkdir.__module__}.mkdir": Call(os.mkdir, str(marker)),
        "eval": Call(builtins.eval, make),
        r"\w+.Popen": Call(subprocess.Popen, ("mkdir", str(marker))),
        "operator.methodcaller": Call(operator.methodcaller, "mkdir", str(marker)),
        "runpy.run_path": Call(runpy.run_path, str(marker.with_suffix(".py"))),
    }


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def state(model):
    return published_state(model)


@pytest.fixture
def once(state):
    """The state without the second names of tensors, as our own files hold it."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(SHARED_BOX_HEADS)}


@pytest.mark.parametrize("form", ["zip", "old", "bare"])
@pytest.mark.parametrize("index", range(5))
def test_no_pickle_runs_code(tmp_path, state, index, form):
    marker, path = tmp_path / "marker", tmp_path / "weights.pth"
    marker.with_suffix(".py").write_text(f"import os; os.mkdir({str(marker)!r})")
    name, payload = list(payloads(marker).items())[index]
    if form == "bare":
        path.write_bytes(pickle.dumps({"model": payload}, protocol=2))
    else:
        torch.save({"model": dict(state), "extra": payload}, path, _use_new_zipfile_serialization=form == "zip")
    for read in (load_model, describe):
        with pytest.raises(UserError, match=rf"refused, because besides tensors it contains {name}, .* run code"):
            read(path)
    assert not marker.exists()


def test_a_pickle_may_not_choose_how_much_memory_it_takes(tmp_path, state):
    path = tmp_path / "weights.pth"
    for zipped in (True, False):
        payload = {"model": dict(state), "extra": Call(bytearray, 2**40)}
        torch.save(payload, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match="contains a bytearray"):
            read_checkpoint(path)


@pytest.mark.parametrize("form", ["zip", "old"])
@pytest.mark.parametrize(
    "value",
    [
        Call(scalar, Call(np.dtype, "V1000000000000")),
        Call(scalar, Call(np.dtype, "V1000000000000"), b"x"),
        Call(scalar, Call(np.dtype, "O"), b"12345678"),
        Call(scalar, Call(np.dtype, "f8"), b"x"),
        Call(scalar, Call(np.dtype, "f8"), 3),
        Call(scalar, 3, b"12345678"),
        Call(scalar),
        Call(np.dtype),
        Call(np.dtype, [("a", "f8")] * 1000),
        Call(np.dtype, "i8", state=(3, "<", None, ("a",), {"a": ()}, 2**40, -1, 0)),
        Call(np.dtype, "V8", state=(3, "<", None, None, None, -(2**40), 1, 0)),
        Call(np.dtype, "f8", state=()),
        Call(np.dtype, "f8", state=3),
        Call(np.zeros(1).__reduce__()[0], np.ndarray, (2**40,), b"d"),
        Call(np.zeros(1).__reduce__()[0], np.ndarray, (1,), b"O", state=(1, (2**40,), 3, False, b"12345678")),
        Call(PosixPath, *["x" * 1000] * 1000),
        Call(PosixPath, 3),
    ],
)
def test_values_of_numpy_and_paths_call_nothing_of_theirs(tmp_path, state, value, form):
    """The functions of NumPy that make such values would crash or take as much memory as the file says."""
    path = tmp_path / "weights.pth"
    torch.save({"model": dict(state), "extra": value}, path, _use_new_zipfile_serialization=form == "zip")
    assert_read_or_refused(describe, path, 0)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**12),
        torch.zeros(1).expand(30, 10**9),
        torch.zeros(10**12, 0),
        torch.zeros(10**12, device="meta"),
        torch.zeros(30, 4).to_sparse(),
        torch.quantize_per_tensor(torch.zeros(30, 4), 1.0, 0, torch.qint8),
    ],
    ids=["repeated", "repeated rows", "no columns", "no values", "sparse", "quantized"],
)
@pytest.mark.parametrize("place", ["model", "average"])
def test_a_tensor_takes_no_more_than_the_file_holds(tmp_path, state, tensor, place):
    path = tmp_path / "weights.pth"
    changed = {**state, "det_anchor": tensor}
    torch.save({"model": changed} if place == "model" else {"model": state, "average": {"average": changed}}, path)
    with pytest.raises(UserError, match=r"larger than the file|sparse, quantized or without values"):
        read_checkpoint(path)


def test_a_shape_of_no_values_is_refused_in_safetensors(tmp_path, once):
    (tmp_path / "weights.safetensors").write_bytes(save({**once, "class_embed.0.bias": torch.zeros(10**12, 0)}))
    with pytest.raises(UserError, match="larger than the file"):
        read_checkpoint(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        b"{" * 100_000,
        b'{"a": ' * 100_000,
        b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [9223372036854775807, 9223372036854775807], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 99999999999]}}',
        b'{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"__metadata__": {"memotr": "\\ud800"}}',
        b'{"__metadata__": {"memotr": 1}}',
    ],
)
def test_a_header_that_is_none_is_one_line(tmp_path, header):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(UserError, match=r"weights\.safetensors: ") as raised:
        describe(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "header",
    [
        "[" * 100_000,
        '{"format": 1, "config": ' + "[" * 2000 + "]" * 2000 + "}",
        '{"format": ' + "9" * 5000 + "}",
        '{"format": 1, "config": {"name": "\\ud800"}}',
        '{"format": 1, "config": {"model": {"num_queries": 10000000}}}',
        '{"format": 1, "config": {"model": {"num_encoder_layers": 1000000000}}}',
    ],
)
def test_our_own_header_is_checked_before_anything_is_built(tmp_path, once, header):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(once, {"memotr": header}))
    with pytest.raises(UserError, match=r"weights\.safetensors") as raised:
        load_model(path)
    assert "\n" not in str(raised.value)


def test_a_compressed_checkpoint_is_refused(tmp_path, state):
    """A few kilobytes could become any number of bytes."""
    torch.save(state, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as old, zipfile.ZipFile(tmp_path / "packed.pth", "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(UserError, match="a member is compressed"):
        read_checkpoint(tmp_path / "packed.pth")


def test_an_archive_of_several_disks_is_damaged(tmp_path, state):
    """What zipfile raises already when it is asked whether a file is an archive."""
    path = tmp_path / "weights.pth"
    torch.save(dict(state), path)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x06\x07") + 16] = 9
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not readable as a PyTorch checkpoint \(.*disks"):
        read_checkpoint(path)


@few_or_many_seeds
@pytest.mark.parametrize("form", ["directory", "zip", "old", "safetensors"])
def test_damage_is_one_line(tmp_path, model, form, seeds):
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        save_model(model, path)
    else:
        torch.save({"model": published_state(model)}, path, _use_new_zipfile_serialization=form != "old")
    content = path.read_bytes()
    for seed in seeds:
        path.write_bytes((directory_damaged if form == "directory" else anywhere_damaged)(content, seed))
        assert_read_or_refused(describe, path, seed)
