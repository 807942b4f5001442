"""Output files: never half written under their final name, and never written by two processes at once.

Everything is written beside its target first, into a *draft* with a random name that is created exclusively, so that
nothing that lies there is followed or overwritten. The writer holds a lock on its draft. The system releases it when
the process ends, however that happens: a draft that nobody holds is a leftover, which the next writer removes. Where a
file system or platform has no locks, drafts of killed processes stay.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, TypeVar

from memotr.errors import UserError

POSIX = os.name == "posix"
if POSIX:
    import fcntl

LOCK = ".lock"
DRAFT = re.compile(r"\..+\.[0-9a-f]{16}\.part(\.\w+)?")
LONGEST_NAME = 200  # bytes; file systems take 255, and a draft's name adds up to 30
# Missing on Windows: O_NOFOLLOW, O_NONBLOCK (which keeps open() from waiting at a FIFO). Only there: O_BINARY.
FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
READABLE = 0o666  # less the umask

T = TypeVar("T")

_handles: set[int] = set()
"""Descriptors of drafts and locks. A forked child closes its copies: it must not hold what its parent has left."""


class Draft:
    """A new file or folder under a temporary name beside its target, until :meth:`put` or :meth:`drop`.

    Leftovers of killed processes that wrote the same target are removed. Folders on the way are made.

    Args:
        path: the target. If it is a symbolic link, the link is replaced, not the file it points to.
        folder: make a folder, not a file.
        suffix: ending of the temporary name, for writers that go by it.

    Attributes:
        path: the target.
        part: the draft.
        handle: descriptor of the draft, open for writing; None for a folder where folders cannot be opened.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path, *, folder: bool = False, suffix: str = "") -> None:
        self.path = path
        with reported(path):
            _check_target(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            self.part, self.handle = _create(path, folder, suffix)

    def sync(self) -> None:
        """Wait until a file is on the disk: some file systems report a full one only now. Raises OSError."""
        assert self.handle is not None
        os.fsync(self.handle)

    def put(self) -> None:
        """Move the draft to its target, replacing an older file. Raises OSError."""
        if not POSIX:  # Windows moves no open file; elsewhere the lock is held until the move is done
            self.release()
        self.part.replace(self.path)
        self.release()

    def drop(self) -> None:
        """Remove the draft. Harmless after :meth:`put`."""
        with suppress(OSError):
            _remove(self.part)
        self.release()

    def release(self) -> None:
        """Leave the draft where it is: a leftover from now on."""
        if self.handle is not None:
            _close(self.handle)
            self.handle = None


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a draft of the file ``path`` to write to: it takes its place once all is written, else it is removed.

    Several processes may do this at once; the last one wins. See :class:`Draft` for the arguments.

    Raises:
        UserError: it cannot be written; an older file stays.
    """
    draft = Draft(path, suffix=suffix)
    try:
        with reported(path):
            yield draft.part
            draft.sync()
            draft.put()
    finally:
        draft.drop()


@contextmanager
def replacing_all(folder: Path, *names: str) -> Iterator[list[Path]]:
    """Like :func:`replacing` for several files in a folder: after a failed write none of them is replaced."""
    drafts: list[Draft] = []
    with ExitStack() as opened:
        for name in names:
            draft = Draft(folder / name)
            opened.callback(draft.drop)
            drafts.append(draft)
        with reported(folder):
            yield [draft.part for draft in drafts]
            for draft in drafts:
                draft.sync()
            for draft in drafts:
                draft.put()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill, which gets its name ``path`` once it is complete, and is removed otherwise.

    Raises:
        UserError: it cannot be written.
    """
    draft = Draft(path, folder=True)
    try:
        with reported(path):
            yield draft.part
            draft.put()
    finally:
        draft.drop()


def check_writable(path: Path) -> None:
    """Raise UserError if no file can be written there: call it before long work."""
    Draft(path).drop()


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file, or nothing at all. Raises UserError; a symbolic link is not followed."""
    data = memoryview(f"{line}\n".encode())
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with reported(path), os.fdopen(os.open(path, flags | FLAGS, READABLE), "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(size)
            raise


@contextmanager
def hold_file(path: Path) -> Iterator[None]:
    """Within the context no other process holds the file ``path``, which need not exist yet.

    Raises:
        UserError: another process holds it.
    """
    with _hold(path, _hidden(path.name) + LOCK, "writing this file"):
        yield


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Within the context no other process holds this folder; leftovers in it and in its subfolders are removed first.

    Raises:
        UserError: another process holds it, or it cannot be made.
    """
    with _hold(folder / LOCK, LOCK, "using this folder", of=folder):
        for depth in ("", "*/"):
            for part in folder.glob(f"{depth}.*.part*"):
                if DRAFT.fullmatch(part.name):
                    _remove_if_left(part)
        yield


class Ranks(Protocol):
    """What is needed of a launched :class:`lightning_fabric.Fabric`."""

    @property
    def is_global_zero(self) -> bool: ...

    def broadcast(self, obj: T, /) -> T: ...


@contextmanager
def hold_run(ranks: Ranks, folder: Path) -> Iterator[None]:
    """:func:`hold_folder` for all processes of a run, by the first of them. Called by every rank.

    Raises:
        UserError: another run holds the folder.
        SystemExit: the same, on other ranks than the first.
    """
    with ExitStack() as held:
        refusal = None
        if ranks.is_global_zero:
            try:
                held.enter_context(hold_folder(folder))
            except UserError as error:
                refusal = error
        if ranks.broadcast(refusal is not None):
            raise refusal or SystemExit(0)  # the first rank says it, and its exit code counts
        yield


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Raise UserError for an OSError: ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _check_target(path: Path) -> None:
    """Raise UserError where something else than a file would be replaced, such as a device."""
    if path.is_dir():
        raise UserError(f"cannot write {path}: a folder has that name")
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISLNK(mode):
            raise UserError(f"cannot write {path}: what has that name is not a regular file")


def _create(path: Path, folder: bool, suffix: str) -> tuple[Path, int | None]:
    """A draft and the descriptor through which it is locked."""
    while True:
        part = path.with_name(f"{_hidden(path.name)}.{secrets.token_hex(8)}.part{suffix}")
        if folder:
            part.mkdir()
            handle = os.open(part, os.O_RDONLY | FLAGS) if POSIX else None
        else:
            handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | FLAGS, READABLE)
        if handle is None:
            return part, None
        _handles.add(handle)
        if _lock(handle) is not False and _is_open_as(handle, part):
            return part, handle
        _close(handle)  # a process that looked for leftovers came between the two steps


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of their drafts of ``path``."""
    beginning = _hidden(path.name) + "."
    with os.scandir(path.parent) as entries:
        found = [entry.name for entry in entries if entry.name.startswith(beginning) and DRAFT.fullmatch(entry.name)]
    for name in found:
        _remove_if_left(path.with_name(name))


def _remove_if_left(part: Path) -> None:
    """Remove a draft that no process holds."""
    with suppress(OSError):
        mode = part.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return
        handle = os.open(part, (os.O_RDONLY if stat.S_ISDIR(mode) else os.O_RDWR) | FLAGS)  # NFS locks for writing only
        try:
            if _lock(handle):
                _remove(part)
        finally:
            os.close(handle)


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part)
    else:
        part.unlink()


@contextmanager
def _hold(path: Path, name: str, doing: str, of: Path | None = None) -> Iterator[None]:
    """Hold the lock file ``name`` beside ``path``; it is removed in the end."""
    lock, target = path.with_name(name), of or path
    with reported(target):
        lock.parent.mkdir(parents=True, exist_ok=True)
        if lock.is_symlink():
            raise UserError(f"cannot write {target}: {lock} is a symbolic link; remove it")
        handle = _open_lock(lock) if POSIX else None
    if handle is None and POSIX:
        raise UserError(f"{target}: another process is {doing}; wait for it to end, or choose another folder")
    try:
        yield
    finally:
        if handle in _handles:
            with suppress(OSError):
                lock.unlink()  # while it is held: whoever has opened it sees that it is gone
            _close(handle)


def _open_lock(lock: Path) -> int | None:
    """The descriptor of a lock file that this process holds now; None where another one does."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | FLAGS, READABLE)
        _handles.add(handle)
        if _lock(handle) is False:
            _close(handle)
            return None
        if _is_open_as(handle, lock):
            return handle
        _close(handle)  # removed by the process that held it


def _lock(handle: int) -> bool | None:
    """Lock an open file until it is closed: False if another process has locked it, None if there are no locks."""
    if not POSIX:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # the file system has none, or (NFS) none for folders
        return None
    return True


def _close(handle: int) -> None:
    """Close a descriptor, unless it is a copy that this forked child has closed."""
    if handle in _handles:
        _handles.remove(handle)
        os.close(handle)


def _close_copies() -> None:
    for handle in list(_handles):
        with suppress(OSError):
            _close(handle)


if POSIX:
    os.register_at_fork(after_in_child=_close_copies)


def _is_open_as(handle: int, path: Path) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _hidden(name: str) -> str:
    """The beginning of hidden names beside a file; a very long one is cut, with a digest instead of the rest."""
    data = os.fsencode(name)
    if len(data) > LONGEST_NAME:
        name = f"{data[:100].decode(errors='ignore')}~{blake2b(data, digest_size=8).hexdigest()}"
    return f".{name}"
