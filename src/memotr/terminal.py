"""Output of text from outside, escaped, to the terminal and to files; it never fails.

Names of files, classes and sequences may come from strangers; printed raw, they could move the cursor or hide text.
All output of the package therefore goes through :func:`say`, :func:`note`, :func:`log` or a console of
:mod:`memotr.consoles`.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, escape among them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of text
    "\u2028\u2029\ufeff\ud800-\udfff]"  # line separators, byte order marks, surrogates
)

ESCAPED, ESCAPED_IN_JSON = "memotr.escaped", "memotr.escaped-in-json"
r"""Error handlers for files of text and of JSON: a byte of a file name that is not UTF-8 becomes the text ``\xff``.

A lone surrogate, which is how Python stores the byte, is valid in no file of text, and few readers of JSON take it.
"""

MAX_LENGTH = 2000
"""Maximum number of characters of a note, which may quote a long text from a file."""

_ASCII = {"×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "≥": ">=", "≤": "<=", "·": "*", "’": "'"}
"""ASCII replacements for characters that the terminal's encoding lacks."""


def printable(text: object) -> str:
    r"""Return text as one line with control characters as escapes such as ``\x1b``.

    Bytes of file names that are not UTF-8, which Python stores as lone surrogates, become ``\xff``.
    """
    return UNPRINTABLE.sub(_escape, str(text))


def plot_text(text: object) -> str:
    """Return text from outside for Matplotlib, which reads text between two dollar signs as a formula."""
    return printable(text).replace("$", r"\$")


def say(*lines: object) -> None:
    """Print lines on standard output."""
    _print(sys.stdout, lines)


def note(*lines: object) -> None:
    """Print lines on standard error after the program's name; cut very long ones in the middle."""
    texts = [str(line) for line in lines]
    end = MAX_LENGTH // 2
    cut = [text if len(text) <= MAX_LENGTH else f"{text[:end]} … {text[-end:]}" for text in texts]
    _print(sys.stderr, (f"memotr: {text}" for text in cut))


def log(*lines: object) -> None:
    """Print progress messages of a long command on standard error."""
    _print(sys.stderr, lines)


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Make printing safe for the duration of a command.

    An ended pipe or a closed terminal is not an error; further output is discarded. Characters that the encoding lacks
    are replaced. Closed standard streams are redirected to the null device.

    Raises:
        OSError: at the end, if standard output could not be written for another reason than an ended pipe.
    """
    _reopen_closed()
    before = sys.stdout, sys.stderr
    output, errors = _Guarded(before[0]), _Guarded(before[1])
    sys.stdout, sys.stderr = output, errors
    try:
        yield
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before
    if output.failure is not None and output.failure.errno not in (errno.EPIPE, errno.EIO):
        raise OSError(output.failure.errno, output.failure.strerror, "standard output")


class _Guarded:
    """Wrapper of a text stream with ``write`` and ``flush`` that do not raise.

    Attributes:
        failure: the first error of the operating system; nothing is written after it.
    """

    def __init__(self, stream: TextIO) -> None:
        self.failure: OSError | None = None
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "memotr.ascii").decode(encoding))
        except OSError as error:
            self._fail(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failure = self.failure or error
        # Buffered text would raise again when Python exits.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _print(stream: TextIO, lines: Iterable[object]) -> None:
    # A single write, because other threads print as well.
    stream.write("".join(f"{printable(line)}\n" for line in lines))
    stream.flush()


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(_ASCII.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in unknown), error.end


def _to_escapes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return printable(error.object[error.start : error.end]), error.end


def _to_json_escapes(error: UnicodeError) -> tuple[str, int]:
    escapes, end = _to_escapes(error)
    return escapes.replace("\\", "\\\\"), end


codecs.register_error("memotr.ascii", _to_ascii)
codecs.register_error(ESCAPED, _to_escapes)
codecs.register_error(ESCAPED_IN_JSON, _to_json_escapes)


def _reopen_closed() -> None:
    """Open the null device for closed standard streams, so that files opened later do not get their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
