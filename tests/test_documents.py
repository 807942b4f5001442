"""Whatever a document holds, reading it gives plain values or one line that names the file."""

import json
import random
import re
from pathlib import Path

import pytest

from memotr.documents import MAX_DEPTH, MAX_VALUES, DocumentError, brief, parse_json, parse_yaml, read_json, read_yaml
from memotr.errors import UserError

LAUGHS = "a0: &a0 [x, x]\n" + "\n".join(f"a{i + 1}: &a{i + 1} [{','.join([f'*a{i}'] * 9)}]" for i in range(12))
MERGED = "a0: &a0 {x: 1}\n" + "\n".join(
    f"a{i + 1}: &a{i + 1} {{<<: [{','.join([f'*a{i}'] * 9)}], y{i}: 1}}" for i in range(12)
)

HOSTILE_YAML = {
    "a: 1\nb: 2001-99-99": "line 2: not valid YAML: '2001-99-99' is no timestamp",
    "a: " + "1" * 5000: "line 1: not valid YAML: '111.*…? is no int",
    "a: 0x" + "f" * 5000: r"a number in it is beyond 1e\+30",
    "a: " + "9" * 40: r"a number in it is beyond 1e\+30",
    'a: "\\ud800"': "an unpaired surrogate",
    'a: "\\0"': "a NUL",
    '"\\ud800": a': "an unpaired surrogate",
    'a: "\\U00110000"': "an escape in it is no character",
    "[" * 3000: "nested more than 50 levels deep",
    "- " * 3000: "nested more than 50 levels deep",
    "a: &a [*a]": "nested more than 50 levels deep",
    LAUGHS: f"more than {MAX_VALUES:,} values",
    MERGED: "merge keys make it too large",
    "a: 1\na: 2": "line 2: not valid YAML: the key 'a' is there twice",
    "a: !!int ''": "line 1: not valid YAML: '' is no int",
    "a: !!bool maybe": "'maybe' is no bool",
    "a: !!timestamp x": "'x' is no timestamp",
    "!!python/object/apply:os.system [ls]": "could not determine a constructor",
    "? [a]\n: 1": "unhashable key",
    "a: *b": "undefined alias",
    "a: [1": "line 1: not valid YAML",
    "a: \x07": "not valid YAML",
    "a: " + "b " * 200_000: "too many for settings",
}

HOSTILE_JSON = {
    "": "line 1: not valid JSON: .* is the file cut short",
    '{"a": 1,\n "b"': "line 2: not valid JSON",
    "[" * 3000: "nested more than 50 levels deep",
    "[" * 3000 + "]" * 3000: "nested more than 50 levels deep",
    '{"a":' * 60 + "1" + "}" * 60: "nested more than 50 levels deep",
    '["]]]]]]", ' + "[" * 60 + "]" * 61: "nested more than 50 levels deep",
    "1" * 5000: "thousands of digits",
    '[1,\n"\\ud800"]': "line 2: a text in it has a NUL or an unpaired surrogate",
    '["\\udc00"]': "unpaired surrogate",
    '{"\\u0000": 1}': "line 1: a text in it has a NUL",
}


def one_line(origin: str, error: UserError) -> bool:
    text = str(error)
    return origin in text and "\n" not in text and len(text) < 400


@pytest.mark.parametrize("text", HOSTILE_YAML, ids=lambda text: text[:20].encode("unicode_escape").decode())
def test_hostile_yaml(text: str) -> None:
    with pytest.raises(DocumentError, match=HOSTILE_YAML[text]) as error:
        parse_yaml(text, "some.yaml")
    assert one_line("some.yaml", error.value)


@pytest.mark.parametrize("text", HOSTILE_JSON, ids=lambda text: text[:20].encode("unicode_escape").decode())
def test_hostile_json(text: str) -> None:
    with pytest.raises(DocumentError, match=HOSTILE_JSON[text]) as error:
        parse_json(text, "some.json")
    assert one_line("some.json", error.value)


def test_valid_documents_are_read_unchanged() -> None:
    base = "base: &base {a: 1}\nmore: {<<: *base, b: [2001-01-01, 1_000, .5]}"
    assert parse_yaml(base, "x")["more"].keys() == {"a", "b"}
    pair = r'["😀", "\\ud800", "[[[", "\"[", "\n"]'
    assert parse_json(pair, "x") == ["😀", "\\ud800", "[[[", '"[', "\n"]
    assert parse_json("\ufeff[1]".encode(), "x") == [1]
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse_json(deep, "x") == parse_yaml(deep, "x")
    assert parse_json(str(2**63), "x") == 2**63


@pytest.mark.parametrize("read", [read_json, read_yaml])
@pytest.mark.parametrize(
    ("data", "told"), [(b"\xff\xff", "it is not text"), (b"a: \xed\xa0\x80", "not text"), (b"1\n\0", "line 2: .* NUL")]
)
def test_bytes_that_are_no_text(read, data: bytes, told: str, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(data)
    with pytest.raises(DocumentError, match=told) as error:
        read(file)
    assert one_line(str(file), error.value)
    with pytest.raises(DocumentError, match=r"cannot read .*none: No such file"):
        read(tmp_path / "none")


def test_values_in_messages_are_short_and_on_one_line() -> None:
    nested: list = []
    for _ in range(5000):
        nested = [nested]
    for value in ("x" * 1000, "a\nb\x1b[31m", nested, 1 << 20_000, {"a": ["b"] * 1000}, "\ud800"):
        text = brief(value)
        assert len(text) <= 80
        assert text.isprintable()


SEEDS = (
    'a: {b: [1, 2.5, "x"], c: &c 2001-01-01}\nd: *c\n',
    '{"a": [1, 2.5, "x\\u00e9", null, true], "b": {"c": -1e9}}',
)
PIECES = [
    *'[]{}:,"&*!#|>%@`\\\n\t -?0159.eE+_',
    "\\ud800",
    "\\u0000",
    "<<: ",
    "!!int ",
    "9" * 30,
    "\x00",
    "\x85",
    "\u2028",
]


@pytest.mark.parametrize("seed", range(4))
def test_mutations(seed: int) -> None:
    random_ = random.Random(seed)
    for _ in range(250):
        text = random_.choice(SEEDS)
        for _ in range(random_.randint(1, 8)):
            k = random_.randrange(len(text) + 1)
            text = text[:k] + random_.choice(PIECES) * random_.choice((1, 1, 1, 60)) + text[k + random_.randint(0, 3) :]
        for parse in (parse_json, parse_yaml):
            said = "some, line: nothing"
            try:
                json.dumps(parse(text, "some"), default=str, skipkeys=True).encode()
            except DocumentError as error:
                said = str(error)
            assert re.match("some, line|cannot read some", said)
            assert "\n" not in said
