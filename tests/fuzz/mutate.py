"""Damage files, as bytes and by structure: JSON, YAML, archives, pickles, safetensors, ONNX, image headers."""

from __future__ import annotations

import io
import json
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import yaml

from tests.fuzz.hostile import COMMAND, JSON_RAW, NAMES, NUMBERS, VALUES, YAML_RAW, payloads

MAX_BYTES = 8_000_000
"""Largest size of a damaged file in bytes."""

Mutation = Callable[[bytes, Random], bytes]


def mutate(name: str, data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a damaged copy of a file.

    Args:
        name: of the file; its ending says what it holds.
        data: its bytes.
        rng: chooses the damage.
        others: files of the same kind, to splice with.
    """
    if others and rng.random() < 0.04:
        return splice(data, rng.choice(others), rng)
    if rng.random() < 0.02:
        return rng.choice((b"", b"\0", b"\n", b"{}", b"[]", b"null", b"PK\x03\x04", b"\xff\xfe", rng.randbytes(300)))
    kind = name.rpartition(".")[2].lower()
    for mutation in [rng.choice(KINDS.get(kind, (mutate_bytes,))), *[_plain(kind)] * rng.choice((0, 0, 0, 1, 3))]:
        try:
            changed = mutation(data, rng)
        except Exception:  # what does not read any more, and any error that comes of that
            changed = mutate_bytes(data, rng)
        data = changed[:MAX_BYTES]
    return data


def _plain(kind: str) -> Mutation:
    return mutate_text if kind in TEXTS else mutate_bytes


# Bytes.

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 2**64 - 1)


def splice(data: bytes, other: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """Flip, cut, repeat, delete or overwrite bytes, half of the time near the beginning, where headers are."""
    if not data:
        return rng.randbytes(20)
    changed = bytearray(data)
    end = len(data) if rng.random() < 0.5 else min(len(data), 256)
    at, length = rng.randrange(end), rng.choice((1, 2, 4, 8, 64, 1000))
    match rng.randrange(8):
        case 0:
            for _ in range(rng.choice((1, 3, 20))):
                changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
        case 1:
            changed[at : at + length] = rng.randbytes(length)
        case 2:
            del changed[rng.randrange(len(data)) :]
        case 3:
            del changed[at : at + length]
        case 4:
            changed[at:at] = data[at : at + length] * rng.choice((1, 2, 100))
        case 5:
            size = rng.choice((1, 2, 4, 8))
            value = rng.choice(EXTREMES) % 256**size
            changed[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))
        case 6:
            changed[at : at + length] = bytes(length)
        case _:
            end = rng.randrange(len(data))  # the end of archives holds their directory
            changed[-1 - end % min(len(data), 400)] = rng.randrange(256)
    return bytes(changed)


# Text.

TOKEN = re.compile(r"[-+]?\d[\d.eE]*|\w+|[^\w\s]|\s+")


def as_bytes(text: str) -> bytes:
    """Encode as UTF-8; surrogates that stand for bytes become these bytes, other lone surrogates are kept."""
    return text.encode("utf-8", "surrogateescape" if not re.search("[\ud800-\udc7f]", text) else "surrogatepass")


def hostile_text(rng: Random) -> str:
    return rng.choice(NUMBERS if rng.random() < 0.6 else NAMES)


def mutate_text(data: bytes, rng: Random) -> bytes:
    """Replace a token, or damage lines, encoding or delimiters."""
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    row, instead = rng.randrange(len(lines)), hostile_text(rng)
    match rng.randrange(12):
        case 0 | 1 | 2 | 3 | 4:
            tokens = list(TOKEN.finditer(text[:200_000]))
            if not tokens:
                return as_bytes(text + instead)
            token = rng.choice(tokens)
            if rng.random() < 0.2:
                return as_bytes(re.sub(rf"\b{re.escape(token[0])}\b", lambda _: instead, text[:200_000]))
            return as_bytes(text[: token.start()] + instead + text[token.end() :])
        case 5:
            lines[row] = lines[row] + rng.choice((",", "", " ", ",1", "\t")) + instead
        case 6:
            lines[row] = instead
        case 7:
            lines[row : row + 1] = [lines[row]] * rng.choice((0, 2, 3, 2000))
        case 8:
            lines[row] = lines[row].replace(
                *rng.choice(((",", ""), (",", " "), (",", ";"), ("=", ":"), (":", "="), ('"', "'")))
            )
        case 9:
            lines[row] = rng.choice(("[", "]", "[[", "=", "", ",,,,,,,,,", "\0", "# a", "\ufeff", "1", "1,1", "\x1a"))
        case 10:
            encoding = rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7"))
            return text.encode(encoding, "replace")
        case _:
            return text.replace("\n", rng.choice(("\r", "\r\n", " ", "\n\n", "\v"))).encode("utf-8", "surrogateescape")
    return as_bytes("\n".join(lines))


# Trees.


def _slots(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        items = (
            list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
        )
        for key, value in items:
            found.append((node, key))
            waiting.append(value)
    return found


def mutate_tree(tree: Any, rng: Random, raw: Sequence[str]) -> tuple[Any, dict[str, str]]:
    """Change nested dictionaries and lists in one place, or all that are equal there.

    Returns:
        The tree, and raw text for the marks in it.
    """
    box = [tree]
    slots = _slots(tree) or [(box, 0)]
    texts = [(parent, key) for parent, key in slots if isinstance(parent[key], str)]
    parent, key = rng.choice(texts if texts and rng.random() < 0.35 else slots)
    replaced: dict[str, str] = {}
    match rng.randrange(12):
        case 0 | 1:
            parent[key] = rng.choice(VALUES)
        case 2 | 3:
            parent[key] = rng.choice(NAMES)
        case 4 | 5:
            replaced["@@RAW@@"] = rng.choice(raw)
            parent[key] = "@@RAW@@"
        case 6:
            del parent[key]
        case 7:
            if isinstance(parent, dict):
                parent[rng.choice(NAMES) if rng.random() < 0.7 else rng.choice(slots)[1]] = parent.pop(key)
            else:
                parent[key:key] = [parent[key]] * rng.choice((1, 2, 1000))
        case 8:
            other, there = rng.choice(slots)
            parent[key] = json.loads(json.dumps(other[there]))
        case 9 | 10:
            before, after = parent[key], rng.choice(NAMES if isinstance(parent[key], str) else VALUES)
            for other, there in slots:  # everywhere: what names a video in all of its frames
                if other[there] == before:
                    other[there] = after
        case _:
            parent[key] = rng.choice(([parent[key]], {"a": parent[key]}, str(parent[key]), [parent[key]] * 1000))
    return box[0], replaced


def mutate_json(data: bytes, rng: Random) -> bytes:
    tree, raw = mutate_tree(json.loads(data), rng, JSON_RAW)
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    for mark, instead in raw.items():
        text = text.replace(f'"{mark}"', instead)
    return as_bytes(text)


def mutate_json_lines(data: bytes, rng: Random) -> bytes:
    lines = data.split(b"\n")
    row = rng.randrange(len(lines))
    lines[row] = mutate_json(lines[row], rng)
    return b"\n".join(lines)


def mutate_yaml(data: bytes, rng: Random) -> bytes:
    tree, raw = mutate_tree(yaml.safe_load(data), rng, YAML_RAW)
    text = yaml.safe_dump(tree, allow_unicode=rng.random() < 0.5, sort_keys=False)
    for mark, instead in raw.items():
        text = text.replace(f"'{mark}'", instead)
    return as_bytes(text)


# Archives and pickles.


def _members(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def _pack(members: Sequence[tuple[str, bytes]], compression: int) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore")  # names that occur twice
        for name, content in members:
            archive.writestr(
                zipfile.ZipInfo(name.replace("\0", "?").encode("utf-8", "replace").decode()[:60000]),
                content,
                compression,
            )
    return file.getvalue()


def _storable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _extra_members(root: str, rng: Random) -> tuple[str, bytes]:
    """Return a member that ``memotr export`` never writes: pickles, native code, a bomb, a path outside the archive."""
    evil = rng.choice(payloads())
    saved = _pack([("archive/data.pkl", evil), ("archive/version", b"3\n"), ("archive/byteorder", b"little")], 0)
    names = (
        "data/sample_inputs/model.pt",
        "data/weights/model.pt",
        "data/constants/model.pt",
        "data/aotinductor/model/a.so",
    )
    choices = [(f"{root}{name}", content) for name in names for content in (evil, saved, b"\x7fELF" + bytes(100))]
    return rng.choice([*choices, (rng.choice(NAMES), b"x"), (f"{root}data/bomb", bytes(50_000_000))])


def mutate_zip(data: bytes, rng: Random) -> bytes:
    """Damage one member of an archive by its type, or the list of members."""
    members = _members(data)
    if not members or rng.random() < 0.3:
        return mutate_bytes(data, rng)
    telling = [k for k, (name, _) in enumerate(members) if name.endswith((".pkl", ".json"))] or list(
        range(len(members))
    )
    at = rng.choice(telling) if rng.random() < 0.7 else rng.randrange(len(members))
    name, content = members[at]
    match rng.randrange(10):
        case 0 | 1 | 2 | 3 | 4:
            kind = mutate_pickle if name.endswith(".pkl") else mutate_json if name.endswith(".json") else mutate_bytes
            members[at] = name, kind(content, rng)
        case 5:
            members[at] = rng.choice((rng.choice(NAMES), name.rpartition("/")[0] + "/" + rng.choice(NAMES))), content
        case 6:
            del members[at]
        case 7:
            members.append((name, rng.choice((content, b"", mutate_bytes(content, rng)))))
        case 8:
            members.insert(rng.randrange(len(members)), _extra_members(name.partition("/")[0] + "/", rng))
        case _:
            members[at] = name, rng.choice((b"", content * 3, rng.choice(payloads())))
    return _pack(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def mutate_expression(data: bytes, rng: Random) -> bytes:
    """Plant code in a torch.export archive where PyTorch would evaluate or unpickle it."""
    members = _members(data)
    evil = f"__import__('os').system('{COMMAND}')".encode()
    saved = _pack([("archive/data.pkl", rng.choice(payloads())), ("archive/version", b"3\n")], 0)
    changed = []
    pickled = rng.random() < 0.5
    for name, content in members:
        if name.endswith(".json") and not pickled:
            content = re.sub(
                rb'("expr_str": ")[^"]*', lambda m: m[1] + evil.encode(), content, count=rng.choice((1, 0))
            )
        elif name.endswith(".json"):
            content = content.replace(b'"use_pickle": false', b'"use_pickle": true')
        elif (pickled and "/weights/" in name) or "/constants/" in name:
            content = saved
        changed.append((name, content))
    return _pack(changed, zipfile.ZIP_STORED)


def mutate_pickle(data: bytes, rng: Random) -> bytes:
    """Change, repeat, drop or insert opcodes of a pickle, or replace it by a payload."""
    operations = list(pickletools.genops(data))
    k = rng.randrange(1, len(operations) - 1)
    op, _, at = operations[k]
    end = operations[k + 1][2]
    match rng.randrange(8):
        case 0 | 1 | 2:
            instead = {
                "BININT1": bytes([75, rng.randrange(256)]),
                "BININT2": b"M" + rng.randbytes(2),
                "BININT": b"J"
                + rng.choice((b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xff\xff\xff", rng.randbytes(4))),
                "BINUNICODE": _unicode(rng.choice(NAMES) if rng.random() < 0.7 else hostile_text(rng)),
            }.get(op.name, b"\x8a\x09\0\0\0\0\0\0\0\0\x01")
            return data[:at] + instead + data[end:]
        case 3:
            return data[:at] + data[end:]
        case 4:
            return data[:end] + data[at:end] * rng.choice((1, 100)) + data[end:]
        case 5:
            return rng.choice(payloads())
        case 6:
            middle = rng.choice(payloads())[:-1]
            return data[:at] + (middle[2:] if middle.startswith(b"\x80") else middle) + data[at:]
        case _:
            middle = rng.choice(
                (b"(" * 5000, b"]" * 5000 + b"a" * 4999, b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"]2", b"}\x85")
            )
            return data[:at] + middle + data[at:]


def _unicode(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def mutate_safetensors(data: bytes, rng: Random) -> bytes:
    """Damage the header of a safetensors file: its length, its JSON, and the settings in it."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    settings = header.get("__metadata__", {})
    inner = next((key for key, text in settings.items() if text.startswith("{")), None)
    match rng.randrange(6):
        case 0:
            return (
                rng.choice((0, 1, size - 1, size + 1, len(data), 10**8, 2**63, 2**64 - 1)).to_bytes(8, "little")
                + data[8:]
            )
        case 1 | 2 if inner is not None:
            settings[inner] = mutate_json(settings[inner].encode(), rng).decode("utf-8", "replace")
            text = json.dumps(header).encode()
        case 3:
            name = rng.choice(list(header))
            changes = (
                {"shape": [10**9, 10**9]},
                {"shape": [2**63]},
                {"shape": []},
                {"data_offsets": [0, 2**40]},
                {"dtype": "F8_E4M3"},
            )
            header[name] = {**header[name], **rng.choice(changes)}
            text = json.dumps(header).encode()
        case 4:
            text = mutate_json(data[8 : 8 + size], rng)
        case _:
            return mutate_bytes(data, rng)
    return len(text).to_bytes(8, "little") + text + body


def mutate_onnx(data: bytes, rng: Random) -> bytes:
    """Damage the metadata of an ONNX file, its tensors or its graph."""
    import onnx

    model = onnx.load_from_string(data)
    tensor, node = rng.choice(model.graph.initializer), rng.choice(model.graph.node)
    entry = rng.choice(model.metadata_props)
    match rng.randrange(8):
        case 0 | 1 | 2:
            kind = mutate_yaml if entry.key == "config" else mutate_json
            entry.value = kind(entry.value.encode(), rng).decode("utf-8", "replace")
        case 3:
            del model.metadata_props[rng.randrange(len(model.metadata_props))]
        case 4:
            tensor.dims[:] = rng.choice(([2**40], [-1], [0], [10**9, 10**9], []))
        case 5:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=_storable(rng.choice(NAMES)))
        case 6:
            node.op_type = rng.choice(("Identity", "Nothing", "If", "Loop", ""))
        case _:
            value = rng.choice([*model.graph.input, *model.graph.output])
            value.name = _storable(rng.choice(NAMES))
    return bytes(model.SerializeToString())


# Images.


def mutate_png(data: bytes, rng: Random) -> bytes:
    """Change the size in a PNG header, with a valid checksum, or add a chunk."""
    if not data.startswith(b"\x89PNG") or len(data) < 33 or rng.random() < 0.4:
        return mutate_bytes(data, rng)
    if rng.random() < 0.7:
        sizes = (0, 1, 7, 65535, 1 << 20, 30_000, 2**31 - 1)
        header = b"IHDR" + struct.pack(">II", rng.choice(sizes), rng.choice(sizes)) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    kind = rng.choice((b"tEXt", b"iTXt", b"zTXt", b"iCCP", b"eXIf", b"acTL", b"PLTE", b"tRNS"))
    chunk = kind + rng.choice((b"", b"\x1b[31m\0red", rng.randbytes(50), b"Exif\0\0" + rng.randbytes(30)))
    return data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def mutate_jpeg(data: bytes, rng: Random) -> bytes:
    """Change the size in a JPEG header, or add Exif data."""
    start = data.find(b"\xff\xc0")
    if start < 0 or rng.random() < 0.5:
        return mutate_bytes(data, rng)
    if rng.random() < 0.5:
        sizes = (0, 1, 65535, 65500, 9)
        return data[: start + 5] + struct.pack(">HH", rng.choice(sizes), rng.choice(sizes)) + data[start + 9 :]
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, rng.choice((0, 6, 9, 65535)), 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + rng.choice((entry, rng.randbytes(12))) + bytes(4)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


TEXTS = ("txt", "ini", "json", "jsonl", "odgt", "yaml")

_TEXT = (mutate_text, mutate_text, mutate_text, mutate_bytes)
_JSON = (mutate_json, mutate_json, mutate_json, mutate_text, mutate_bytes)
_YAML = (mutate_yaml, mutate_yaml, mutate_yaml, mutate_text, mutate_bytes)
_TORCH = (mutate_zip, mutate_zip, mutate_bytes)

KINDS: dict[str, tuple[Mutation, ...]] = {
    "txt": _TEXT,
    "ini": _TEXT,
    "json": _JSON,
    "odgt": (mutate_json_lines, mutate_json_lines, mutate_text, mutate_bytes),
    "jsonl": (mutate_json_lines, mutate_json_lines, mutate_text, mutate_bytes),
    "yaml": _YAML,
    "pth": _TORCH,
    "pt": _TORCH,
    "bin": _TORCH,
    "pt2": (mutate_zip, mutate_zip, mutate_expression, mutate_bytes),
    "safetensors": (mutate_safetensors, mutate_safetensors, mutate_bytes),
    "onnx": (mutate_onnx, mutate_onnx, mutate_bytes),
    "png": (mutate_png,),
    "jpg": (mutate_jpeg,),
}
