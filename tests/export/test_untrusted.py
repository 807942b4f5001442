"""What a stranger's exported tracker may hold: nothing that runs, nothing that takes more memory than the file."""

import json
import math
import pickle
import zipfile
from copy import copy
from functools import partial
from pathlib import Path

import pytest
import torch

from memotr.errors import UserError
from memotr.export.description import describe
from memotr.export.engines import open_engine
from memotr.export.frame_step import INPUTS, OUTPUTS
from memotr.export.info import describe_export
from memotr.export.program import _example
from tests.damage import anywhere_damaged, assert_read_or_refused, directory_damaged, few_or_many_seeds
from tests.export.attacks import Payload, SmallStep, edited, rewrite, saved
from tests.export.builders import onnx_bytes
from tests.mutations import mutated

YES = {"as_bool": True}
WEIGHTS, CONSTANTS = (f"data/{kind}/model_{kind}_config.json" for kind in ("weights", "constants"))


def use_pickle(config, member):
    """Have the first tensor of a config read as a pickle."""

    def change(document):
        meta = next(iter(document["config"].values()))
        meta |= {"use_pickle": True, "path_name": member}

    return {config: edited(change)}


def first_node(**changes):
    return {"models/model.json": edited(lambda document: document["graph_module"]["graph"]["nodes"][0].update(changes))}


def call(target, *arguments):
    named = zip(("filename", "shared", "size"), arguments, strict=False)
    return first_node(target=target, inputs=[{"name": name, "arg": arg, "kind": 1} for name, arg in named])


def program(change):
    return {"models/model.json": edited(change)}


def expression(text):
    def change(document):
        for meta in document["graph_module"]["graph"]["tensor_values"].values():
            meta["sizes"] = [{"as_expr": {"expr_str": text, "hint": None}} for _ in meta["sizes"]]

    return program(change)


def renamed_input(text):
    """The name under which an input would stand in generated source text."""

    def change(document):
        last = document["graph_module"]["signature"]["input_specs"][-1]["user_input"]["arg"]["as_tensor"]["name"]
        changed = json.dumps(document).replace(json.dumps(last), json.dumps(text))
        document |= json.loads(changed)

    return program(change)


def call_signature(**changes):
    return program(lambda document: document["graph_module"]["module_call_graph"][0]["signature"].update(changes))


def attacks(marker):
    """By name: the changes that make an attack, and what the refusal says."""
    pickled, code, path = saved(Payload(marker)), f"__import__('os').mkdir({str(marker)!r})", {"as_string": str(marker)}
    member, stored, arithmetic = "memotr export .* writes no member", "a pickle", "more than arithmetic"
    return {
        "weight": ({**use_pickle(WEIGHTS, "weight_0"), "data/weights/weight_0": lambda _: pickled}, stored),
        "constant": ({**use_pickle(CONSTANTS, "tensor_0"), "data/constants/tensor_0": lambda _: pickled}, stored),
        "object": ({"data/constants/opaque_obj_0": lambda _: pickle.dumps(Payload(marker))}, member),
        "TorchScript object": ({"data/constants/custom_obj_0": lambda _: pickled}, member),
        "sample inputs": ({"data/sample_inputs/model.pt": lambda _: pickled}, "more than tensors"),
        "weights as in PyTorch 2.8": ({"data/weights/model.pt": lambda _: pickled}, member),
        "constants as in PyTorch 2.8": ({"data/constants/model.pt": lambda _: pickled}, member),
        "library": ({"data/aotinductor/model/model.so": lambda _: b"\x7fELF"}, member),
        "second program": ({"models/other.json": lambda _: b"{}"}, member),
        "size": (expression(code), arithmetic),
        "size in brackets": (expression(f"Max(1, {code})"), arithmetic),
        "text of a size": (expression(f"S({code!r})"), arithmetic),
        "guard": (program(lambda document: document.update(guards_code=[code])), "more than a comparison"),
        "attribute of torch": (call("torch.os.mkdir", path), "it calls 'torch.os.mkdir'"),
        "attribute of an operator": (call("torch.ops.aten.add.__class__", path), "it calls"),
        "library of operators": (call("torch.ops.load_library", path), "it calls"),
        "file as tensor": (
            call("torch.ops.aten.from_file.default", path, {"as_bool": True}, {"as_int": 8}),
            "it calls",
        ),
        "graph in a graph": (call("torch.ops.aten.add.Tensor", {"as_graph": {}}), "of the kind as_graph"),
    }


def ignored(marker):
    """By name: what PyTorch would evaluate, and nothing here looks at."""
    enum = {"__enum__": 1, "fqn": f"{marker.name}:X", "name": "y"}
    spec = [1, {"type": "builtins.tuple", "context": json.dumps(enum), "children_spec": []}]
    return {
        "name": renamed_input(f"c=__import__('os').mkdir({str(marker)!r})"),
        "argument": call_signature(forward_arg_names=[f"__import__('os').mkdir({str(marker)!r})"]),
        "module": call_signature(in_spec=json.dumps(spec)),
    }


def test_a_genuine_program_runs(genuine, model):
    engine, inputs = open_engine(genuine), _example(model)
    assert engine.config == model.config
    outputs = engine.run(dict(zip(INPUTS, inputs, strict=True)))
    expected = dict(zip(OUTPUTS, SmallStep()(*inputs), strict=True))
    assert outputs.keys() == expected.keys()
    assert all(torch.equal(outputs[name], expected[name]) for name in OUTPUTS)


@pytest.mark.parametrize("name", sorted(attacks("")))
def test_no_code_of_a_program_runs(genuine, tmp_path, name):
    marker, path = tmp_path / "marker", tmp_path / "tracker.pt2"
    changes, refusal = attacks(marker)[name]
    rewrite(genuine, path, changes)
    with pytest.raises(UserError, match=f"tracker.pt2: refused.*{refusal}"):
        open_engine(path)
    assert not marker.exists()
    if "member" in refusal:
        with pytest.raises(UserError, match=refusal):
            describe_export(path)
    else:
        describe_export(path)  # reads the description, and nothing else
    assert not marker.exists()


@pytest.mark.parametrize("name", sorted(ignored(Path())))
def test_unneeded_members_are_not_evaluated(genuine, model, tmp_path, monkeypatch, name):
    marker, path = tmp_path / "marker", tmp_path / "tracker.pt2"
    (tmp_path / "marker.py").write_text(f"import os; os.mkdir({str(marker)!r})")
    monkeypatch.syspath_prepend(tmp_path)
    rewrite(genuine, path, ignored(marker)[name])
    open_engine(path).run(dict(zip(INPUTS, _example(model), strict=True)))
    assert not marker.exists()


def test_info_reads_nothing_but_the_description(genuine, tmp_path):
    path = tmp_path / "tracker.pt2"
    rewrite(genuine, path, {"models/model.json": lambda _: b"no JSON", WEIGHTS: lambda _: b"neither"})
    assert describe_export(path)["kind"] == "exported tracker, torch.export program"


def test_compressed_members_are_refused(genuine, tmp_path):
    path = tmp_path / "tracker.pt2"
    with zipfile.ZipFile(genuine) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    for read in (open_engine, describe_export):
        with pytest.raises(UserError, match="a member is compressed"):
            read(path)


def test_members_that_are_there_twice_are_refused(genuine, tmp_path):
    path = tmp_path / "tracker.pt2"
    path.write_bytes(genuine.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        name = archive.namelist()[0]
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(name, b"another")
        archive.writestr(f"other/{name.partition('/')[2]}", b"another")
    with pytest.raises(UserError, match="two members of one name"):
        open_engine(path)


def test_members_that_overlap_are_refused(genuine, tmp_path):
    """As in an archive of a few kilobytes that holds the same gigabyte many times."""
    path = tmp_path / "tracker.pt2"
    rewrite(genuine, path, {"data/weights/weight_9": lambda _: bytes(1_000_000)})
    with zipfile.ZipFile(path, "a") as archive:
        member = archive.getinfo("archive/data/weights/weight_9")
        for i in range(10, 20):
            again = copy(member)
            again.filename = f"archive/data/weights/weight_{i}"
            archive.filelist.append(again)
        archive._didModify = True
    with pytest.raises(UserError, match="overlap"):
        describe_export(path)


def test_a_member_out_of_proportion_is_refused(genuine, tmp_path):
    path = tmp_path / "tracker.pt2"
    rewrite(genuine, path, {"extra/memotr.json": lambda content: content + b" " * 2**20})
    with pytest.raises(UserError, match=r"has 1,05\d,\d+ bytes"):
        describe_export(path)


@pytest.mark.parametrize("sizes", [[10**12], [2**62, 4], [-1], ["4"], [4.5]])
def test_a_tensor_takes_no_more_than_the_file_holds(genuine, tmp_path, sizes):
    def change(document):
        meta = document["config"]["scale"]["tensor_meta"]
        meta |= {"sizes": [{"as_int": n} for n in sizes], "strides": [{"as_int": 0} for _ in sizes]}

    path = tmp_path / "tracker.pt2"
    rewrite(genuine, path, {WEIGHTS: edited(change)})
    with pytest.raises(UserError, match=r"tracker\.pt2: "):
        open_engine(path)


def test_a_tensor_one_element_larger_than_its_data_is_refused(genuine, tmp_path):
    def change(document):
        meta = document["config"]["scale"]["tensor_meta"]
        count = math.prod(size["as_int"] for size in meta["sizes"])
        meta |= {"sizes": [{"as_int": count + 1}], "strides": [{"as_int": 0}]}

    path = tmp_path / "tracker.pt2"
    rewrite(genuine, path, {WEIGHTS: edited(change)})
    with pytest.raises(UserError, match="its tensor scale is larger than its data in the file"):
        open_engine(path)


def test_a_step_that_fails_or_returns_something_else_is_one_line(genuine, model, tmp_path):
    path, inputs = tmp_path / "tracker.pt2", dict(zip(INPUTS, _example(model), strict=True))
    rewrite(genuine, path, first_node(target="torch.ops.aten.relu.default", inputs=[]))
    with pytest.raises(UserError, match="cannot run a frame step: ") as raised:
        open_engine(path).run(inputs)
    assert "\n" not in str(raised.value)

    def swap(document):
        outputs = document["graph_module"]["graph"]["outputs"]
        outputs[0], outputs[-1] = outputs[-1], outputs[0]

    rewrite(genuine, path, program(swap))
    with pytest.raises(UserError, match=r"returns new_ids as torch\.float32"):
        open_engine(path).run(inputs)


def test_written_files_have_no_pickle_and_load_in_pytorch(genuine):
    path = genuine.with_name("tracker.pt2")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("archive/data/sample_inputs/model.pt") == b""
    assert torch.export.load(path).example_inputs is None


def external(model):
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../../secret"
    model.graph.initializer[0].data_location = 1


def external_in_a_branch(model):
    onnx = pytest.importorskip("onnx")
    constant = onnx.helper.make_node("Constant", [], ["b"], value=onnx.helper.make_tensor("w", 1, [1], [0.0]))
    constant.attribute[0].t.external_data.add().key = "location"
    branch = onnx.helper.make_graph([constant], "branch", [], [onnx.helper.make_tensor_value_info("b", 1, [1])])
    model.graph.node[0].CopyFrom(onnx.helper.make_node("If", ["a"], ["b"], then_branch=branch, else_branch=branch))


def other_domain(model):
    model.graph.node[0].domain = "com.microsoft"


def function(model):
    model.functions.add(name="Add", domain="mine")


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (external, "is stored in another file"),
        (external_in_a_branch, "is stored in another file"),
        (other_domain, "it calls 'Add' of the domain 'com.microsoft'"),
        (function, "it contains functions"),
    ],
)
def test_onnx_of_other_files_and_operators_is_refused(model, tmp_path, change, refusal):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "tracker.onnx"
    path.write_bytes(onnx_bytes(describe(model.config), change))
    for read in (open_engine, describe_export):
        with pytest.raises(UserError, match=rf"tracker\.onnx: refused, because .*{refusal}"):
            read(path)


def test_an_onnx_step_that_fails_is_one_line(model, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "tracker.onnx"
    path.write_bytes(onnx_bytes(describe(model.config)))
    with pytest.raises(UserError, match=r"tracker\.onnx: cannot run a frame step: ") as raised:
        open_engine(path).run(dict(zip(INPUTS, _example(model), strict=True)))
    assert "\n" not in str(raised.value)


def cut_short(model):
    model.graph.initializer[0].dims[0] = 2


def test_onnx_runtime_prints_nothing_itself(model, tmp_path, capfd):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "tracker.onnx"
    path.write_bytes(onnx_bytes(describe(model.config), cut_short))
    with pytest.raises(UserError, match=r"tracker\.onnx: ONNX Runtime cannot load it: "):
        open_engine(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "texts",
    [
        b"[" * 100_000,
        b"[]",
        b'{"memotr_format": 1}',
        b'{"memotr_format": "1"}',
        b'{"memotr_format": "9"}',
        b'{"memotr_format": "1", "config": "- 2001-99-99"}',
        b'{"memotr_format": "1", "config": "' + b"[" * 100_000 + b'"}',
        b'{"memotr_format": "1", "config": "name: ' + b"9" * 5000 + b'"}',
        b"\xff\xfe",
    ],
)
def test_a_description_that_is_none_is_one_line(genuine, tmp_path, texts):
    path = tmp_path / "tracker.pt2"
    rewrite(genuine, path, {"extra/memotr.json": lambda _: texts})
    with pytest.raises(UserError, match=r"tracker\.pt2") as raised:
        describe_export(path)
    assert "\n" not in str(raised.value)


@few_or_many_seeds
@pytest.mark.parametrize("form", ["directory", "anywhere", "models/model.json", WEIGHTS, "extra/memotr.json", "onnx"])
def test_damage_is_one_line(genuine, model, tmp_path, form, seeds):
    path, inputs = tmp_path / "tracker.pt2", dict(zip(INPUTS, _example(model), strict=True))
    content = genuine.read_bytes()
    if form == "onnx":
        path, content = tmp_path / "tracker.onnx", onnx_bytes(describe(model.config))
    for seed in seeds:
        if form in ("directory", "anywhere", "onnx"):
            change = directory_damaged if form == "directory" else anywhere_damaged
            path.write_bytes(change(content, seed))
        else:
            rewrite(genuine, path, {form: partial(mutated, seed=seed)})
        for read in (describe_export, lambda path: open_engine(path).run(inputs)):
            assert_read_or_refused(read, path, seed)
