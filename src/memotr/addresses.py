"""Display of addresses without user names, passwords and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]+|[A-Za-z]:[/\\]{2,}"  # one letter and one slash is a drive of Windows
ADDRESS = re.compile(rf"(?<![A-Za-z0-9+.])(?:{SCHEME})|(?<![^=-])[/\\]{{2}}")
AT = re.compile("[@\uff20\ufe6b]")  # with its wide and small forms, which some programs accept
DRIVE = re.compile(r"[A-Za-z]:[/\\]")
PARAMETERS = re.compile(r"[;&=]|%3[bd]|%26|%3f", re.IGNORECASE)  # start of the parameters of a path: /live;token=…
HIDDEN = "…"
"""Text in place of credentials."""


def is_address(text: str) -> bool:
    """Return whether a text has the form of an address (``scheme:/…``), whatever its scheme."""
    match = ADDRESS.match(text)
    return match is not None and ":" in match.group()


def without_secrets(text: str) -> str:
    """Return a text without the credentials of the address in it, if there is one.

    The result lacks everything between ``//`` and the last ``@``, the query, the fragment and the parameters of the
    path. If a ``@`` could belong to the query or to a password, only the scheme is kept. Call this for every address
    that becomes part of a message, a file or a file name.
    """
    match = ADDRESS.search(text)
    if match is None:
        drive = DRIVE.match(text)  # or the scheme of a mistyped address: names of files have no second colon
        start = drive.group() if drive else ""
        *user, location = AT.split(text[len(start) :])
        is_login = user and re.match(r"[^/\\]+:", text[len(start) :])  # user:password@host
        return f"{start}{HIDDEN}@{_location(location)}" if is_login else text
    before, start, rest = text[: match.start()], match.group(), text[match.end() :]
    if AT.search(before):
        before = HIDDEN
    *user, location = AT.split(rest)
    ambiguous = re.search(r"[?#]|/.*[;&=]", "@".join(user), re.DOTALL)
    return f"{before}{start}{HIDDEN if ambiguous else _location(location)}"


def without_secrets_of(arguments: Iterable[str], message: str) -> str:
    """Return a message without the credentials of any address among the command-line arguments."""
    for argument in arguments:
        option, _, value = argument.partition("=")
        for part in (argument, option, value):
            if (shown := without_secrets(part)) != part:
                message = message.replace(part, shown).replace(str(Path(part)), shown)
    return message


def _location(text: str) -> str:
    """Return host, port and path, without a port that is not a number."""
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    path = re.sub(r"^([^/\\:\[\]]*):(?!\d{1,5}(?:[/\\]|$))[^/\\]*", r"\1", path)
    return "".join(PARAMETERS.split(part, maxsplit=1)[0] for part in re.split(r"([/\\])", path))
