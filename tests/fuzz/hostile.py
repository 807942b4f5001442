"""Dictionary of hostile values: numbers, names, raw YAML and JSON, pickle payloads."""

from __future__ import annotations

import pickle

ARENA = "@ARENA@"
"""Placeholder for the folder of a case, replaced when its files are written."""

MARKER = "executed"
"""File that a payload creates when a reader runs it."""

COMMAND = f"touch {MARKER}"

NUMBERS = (
    *("0", "-0", "-1", "1", "2", "255", "256", "65536", "2147483647", "2147483648", "4294967296"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1000000", "1000000000"),
    *("1" * 400, "9" * 5000, "1e308", "-1e308", "1e309", "1e-320", "1e19", "1.5", "0.1", "1e400"),
    *(
        "nan",
        "NaN",
        "inf",
        "-inf",
        "Infinity",
        "-Infinity",
        "0x10",
        "1_000",
        "\u0661",
        "\uff12",
        "+1",
        "1,5",
        ".",
        "1.",
    ),
)

NAMES = (
    *(
        "",
        " ",
        ".",
        "..",
        "../x",
        "../../../../x",
        f"{ARENA}/absolute",
        "a/b",
        "/",
        "a\\b",
        "..\\x",
        "C:\\evil",
        "~",
        "~root",
    ),
    *("a\0b", "a\nb", "a\rb", "a\tb", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "\x7f", "\x85", "\u2028"),
    *(
        "[/red]",
        "[bold]",
        "[link=http://x]y[/link]",
        "\u202egnp.exe",
        "\u2066x",
        "\ud800",
        "\udcff",
        "\udc80x",
        "\U0001f600",
    ),
    *(
        "e\u0301",
        "\U0001f600",
        "a" * 256,
        "a" * 5000,
        "x" * 200_000,
        "%s%n%d",
        "{0}",
        "{split}",
        "${HOME}",
        "CON",
        "-rf",
        "--help",
    ),
    *(
        f"$({COMMAND})",
        f"; {COMMAND}",
        f"`{COMMAND}`",
        "<script>alert(1)</script>",
        "=cmd|' /C calc'!A0",
        "*",
        "[a-",
        "a:b",
    ),
    *(
        "~root",
        "a:b",
        "null",
        "true",
        "NULL",
        "None",
        "'",
        '"',
        "#",
        "\ufeff",
        "person",
        "car",
        "results",
        "unfinished",
        "run.json",
    ),
)

FILE_NAMES = (
    *(name for name in NAMES if name not in ("", ".", "..") and "/" not in name and "\0" not in name),
    *("\udcff\udcfe", "a\udce9"),
)
"""Names that a file or folder can have; names too long for the file system are cut."""

VALUES = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        10**6,
        10**9,
        2**31,
        2**63 - 1,
        2**63,
        2**64,
        -(2**63) - 1,
        10**19,
        10**100,
        10**400,
    ),
    *(0.0, -0.0, 0.5, 1e308, -1e308, 1e-320, 1e19, float("nan"), float("inf"), float("-inf")),
    *("", [], {}, [[]], [None], {"": None}, [1, 2, 3, 4], ["a", "b"], {"a": 1}, "1", "1e9", "nan"),
)

JSON_RAW = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "0x1", "01", "1.", "'a'", "undefined", ""),
    *('"\\ud800"', '"\\u0000"', '"\\u202e"', '"\\u001b[31m"', '"\\q"', '{"a": 1, "a": 2}', "[1, 2", "[1,]"),
    *("[" * 3000 + "]" * 3000, "[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, "[" + "0," * 100_000 + "0]"),
)

YAML_RAW = (
    *("2001-99-99", "2001-01-01", "2001-01-01 99:99:99", "9" * 5000, '"\\ud800"', '"\\0"', '"\\e[31m"', "0o17", "0b11"),
    *("[" * 3000 + "]" * 3000, "[" * 100_000, "{a: " * 3000 + "1" + "}" * 3000, "&a [*a]", "&a {a: *a}", "*undefined"),
    *("{<<: 1}", "{<<: [1]}", "{[a]: b}", "{{a: b}: c}", "!!binary abc", "!!int abc", "!!float x", "!!timestamp x"),
    *("!!set {a, b}", "!!omap [a: 1]", "!!python/name:os.system", f"!!python/object/apply:os.system ['{COMMAND}']"),
    *(
        "!unknown x",
        "190:20:30",
        "1:99",
        ".inf",
        "-.inf",
        ".nan",
        "=",
        "~",
        "1_000",
        "0x7fffffffffffffffff",
        "!!null x",
    ),
    "[&a [x, x, x, x, x, x, x, x, x, x], "
    + ", ".join(f"&{c} [{', '.join(['*' + b] * 10)}]" for b, c in zip("abcdefgh", "bcdefghi", strict=True))
    + "]",
)


class _Payload:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call  # type: ignore[return-value]


def payloads() -> list[bytes]:
    """Return pickles that create the marker file when they are loaded without protection."""
    import os
    import subprocess

    system = f"cposix\nsystem\n(S'{COMMAND}'\ntR.".encode()
    return [
        *(pickle.dumps(_Payload(os.system, COMMAND), protocol=protocol) for protocol in (2, 4)),
        pickle.dumps({"model": _Payload(eval, f"open({MARKER!r}, 'w')")}, protocol=2),
        pickle.dumps({"model": {}, "args": _Payload(subprocess.check_call, ["touch", MARKER])}, protocol=2),
        pickle.dumps([_Payload(exec, f"import pathlib; pathlib.Path({MARKER!r}).touch()")], protocol=2),
        b"\x80\x02" + system,
        b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n.",
        b"\x80\x02cbuiltins\ngetattr\ncos\n__dict__\nX\x01\x00\x00\x00a\x86R.",
    ]
