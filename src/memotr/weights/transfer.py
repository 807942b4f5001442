"""Resumable download of weights files from Google Drive, a web address or the Hugging Face Hub."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from memotr.consoles import console, progress_bar
from memotr.errors import UserError
from memotr.weights.hub import MAX_BYTES, hub_file, is_hub_address

RETRIES, TIMEOUT = 4, 60  # seconds without data
NOT_RESUMED = "byte range"
"""Part of gdown's message about a server that cannot resume a download."""
UNREACHABLE = re.compile("Failed to resolve|Failed to establish|Connection refused|Network is unreachable")
"""Parts of messages about a server to which no connection can be made."""


def page_of(place: str) -> str:
    """Return the web address of a place, for a browser."""
    scheme, _, rest = place.partition("://")
    return f"https://drive.google.com/uc?id={rest}" if scheme == "gdrive" else place


def host_of(place: str) -> str:
    """Return the name of the server of a place, for messages."""
    return "the Hugging Face Hub" if is_hub_address(place) else str(urlsplit(page_of(place)).hostname)


def transfer(place: str, target: Path, title: str, largest: int = MAX_BYTES) -> None:
    """Download a file with a progress bar, resuming an earlier transfer that was interrupted.

    No credentials are sent, except the user's token to the Hugging Face Hub.

    Args:
        place: ``gdrive://ID``, ``hf://OWNER/NAME/FILE`` or the address of a file.
        target: file that appears once it is complete, in an existing folder that no other process uses.
        title: text before the progress bar.
        largest: largest accepted size in bytes.

    Raises:
        UserError: a library is missing, the server cannot be reached or does not send the file, or the file is too
            large.
    """
    if is_hub_address(place):
        shutil.copyfile(hub_file(place, largest), target)
        return
    if find_spec("gdown") is None:
        raise UserError("gdown is required but not installed: pip install 'memotr[hub]'")
    import gdown
    import requests

    with progress_bar(console(stderr=True), "MB", title=title) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int | None) -> None:
            if max(done, total or 0) > largest:
                raise UserError(f"{host_of(place)} offers more than {largest:,} bytes")
            bar.update(task, completed=done // 10**6, total=None if total is None else total // 10**6)

        def fetch() -> None:
            gdown.download(
                page_of(place),
                str(target),
                quiet=True,
                use_cookies=False,
                resume=True,
                progress=show,
                timeout=TIMEOUT,
                retries=RETRIES,
            )

        try:
            try:
                fetch()
            except gdown.exceptions.DownloadError as error:
                if NOT_RESUMED not in str(error):
                    raise
                drop_parts(target)
                fetch()
        except UserError:
            drop_parts(target)
            raise
        # KeyError: an answer lacks a header that Google Drive always sends.
        except (gdown.exceptions.DownloadError, requests.RequestException, KeyError) as error:
            reason = " ".join(str(error).split())
            if UNREACHABLE.search(reason):
                raise UserError(
                    f"{host_of(place)} cannot be reached (is there a connection to the internet?)"
                ) from error
            raise UserError(f"{host_of(place)} did not send the file: {reason:.400}") from error


def drop_parts(target: Path) -> None:
    """Remove the partial files of unfinished transfers to a target."""
    for part in target.parent.glob(f"{target.name}*.part"):
        part.unlink()
