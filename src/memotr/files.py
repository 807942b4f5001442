"""Safe writing of output files: complete under their final name, and by one process at a time.

Everything is first written into a *draft* beside its target. A draft has a random name and is created exclusively, so
that existing files and links are neither followed nor overwritten. The writer holds a lock on its draft, which the
system releases when the process ends for any reason. A draft without a lock is a leftover; the next writer removes it.
If a file system or platform has no locks, drafts of killed processes remain.
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
MAX_NAME_LENGTH = 200  # bytes; file systems allow 255, and the name of a draft adds up to 30
# O_NOFOLLOW and O_NONBLOCK (open() does not wait at a FIFO) are missing on Windows; O_BINARY exists only there.
FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
READABLE = 0o666  # minus the umask

T = TypeVar("T")

_handles: set[int] = set()
"""Descriptors of drafts and locks. A forked child closes its copies so that it does not keep its parent's locks."""


class Draft:
    """New file or folder with a temporary name beside its target, until :meth:`put` or :meth:`drop`.

    Leftovers of killed processes with the same target are removed. Missing parent folders are made.

    Args:
        path: the target. If it is a symbolic link, the link is replaced, not the file it points to.
        folder: make a folder instead of a file.
        suffix: suffix of the temporary name, for writers that depend on it.

    Attributes:
        path: the target.
        part: the draft.
        handle: descriptor of the draft, open for writing; None for a folder on platforms that cannot open folders.

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
        """Wait until the file is on the disk: some file systems report a full disk only then. Raises OSError."""
        assert self.handle is not None
        os.fsync(self.handle)

    def put(self) -> None:
        """Move the draft to its target, replacing an older file. Raises OSError."""
        if not POSIX:  # Windows cannot move an open file; elsewhere the lock is held until after the move
            self.release()
        self.part.replace(self.path)
        self.release()

    def drop(self) -> None:
        """Remove the draft. Harmless after :meth:`put`."""
        with suppress(OSError):
            _remove(self.part)
        self.release()

    def release(self) -> None:
        """Release the lock and leave the draft behind as a leftover."""
        if self.handle is not None:
            _close(self.handle)
            self.handle = None


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a draft to write to, which replaces the file ``path`` at the end or is removed after an error.

    Several processes may do this at once; the last one wins. See :class:`Draft` for the arguments.

    Raises:
        UserError: the file cannot be written; an older one is kept.
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
    """Yield drafts of several files in a folder, as :func:`replacing`; replace all of them or none."""
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
    """Yield a new folder to fill, which gets the name ``path`` at the end or is removed after an error.

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
    """Raise UserError if the file cannot be written; call this before long work."""
    Draft(path).drop()


def append_line(path: Path, line: str) -> None:
    """Append a complete line to a text file, without following a symbolic link. Raises UserError."""
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
    """Hold the file ``path``, which need not exist, within the context; other processes cannot hold it.

    Raises:
        UserError: another process holds it.
    """
    with _hold(path, _hidden(path.name) + LOCK, "writing this file"):
        yield


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold a folder within the context; other processes cannot hold it.

    Leftovers in the folder and its subfolders are removed first.

    Raises:
        UserError: another process holds the folder, or it cannot be made.
    """
    with _hold(folder / LOCK, LOCK, "using this folder", of=folder):
        for depth in ("", "*/"):
            for part in folder.glob(f"{depth}.*.part*"):
                if DRAFT.fullmatch(part.name):
                    _remove_if_left(part)
        yield


class Ranks(Protocol):
    """Part of a launched :class:`lightning_fabric.Fabric` that :func:`hold_run` needs."""

    @property
    def is_global_zero(self) -> bool:
        """True on the first rank of the run."""

    def broadcast(self, obj: T, /) -> T:
        """Return the first rank's object on every rank."""


@contextmanager
def hold_run(ranks: Ranks, folder: Path) -> Iterator[None]:
    """Hold a folder for all ranks of a run, as :func:`hold_folder`. Every rank calls this.

    Raises:
        UserError: another run holds the folder; raised on the first rank.
        SystemExit: the same on the other ranks.
    """
    with ExitStack() as held:
        refusal = None
        if ranks.is_global_zero:
            try:
                held.enter_context(hold_folder(folder))
            except UserError as error:
                refusal = error
        if ranks.broadcast(refusal is not None):
            raise refusal or SystemExit(0)  # the first rank reports it, and its exit code counts
        yield


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Convert an OSError to a UserError that ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _check_target(path: Path) -> None:
    """Raise UserError if the target exists and is not a file, but a folder or a device."""
    if path.is_dir():
        raise UserError(f"cannot write {path}: a folder has that name")
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISLNK(mode):
            raise UserError(f"cannot write {path}: something that is not a regular file has that name")


def _create(path: Path, folder: bool, suffix: str) -> tuple[Path, int | None]:
    """Create a draft; return it with the descriptor that locks it."""
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
        _close(handle)  # a process that removes leftovers came between creation and lock


def _remove_leftovers(path: Path) -> None:
    """Remove drafts of ``path`` from killed processes."""
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
    """Hold the lock file ``name`` beside ``path`` within the context, and remove it at the end.

    Args:
        path: path beside which the lock file lies.
        name: name of the lock file.
        doing: what the process that holds it is doing, for the message.
        of: path to name in messages, by default ``path``.
    """
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
                lock.unlink()  # while the lock is held: a process that has opened the file notices
            _close(handle)


def _open_lock(lock: Path) -> int | None:
    """Lock a lock file; return its descriptor, or None if another process holds it."""
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
    """Lock an open file until it is closed; return False if it is locked, None if locks are not supported."""
    if not POSIX:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # the file system has no locks, or (NFS) none for folders
        return None
    return True


def _close(handle: int) -> None:
    """Close a descriptor unless this forked child has closed it already."""
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
    """Return whether an open file still has this path."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _hidden(name: str) -> str:
    """Return the prefix of hidden names beside a file; a long name is cut and completed with a digest."""
    data = os.fsencode(name)
    if len(data) > MAX_NAME_LENGTH:
        name = f"{data[:100].decode(errors='ignore')}~{blake2b(data, digest_size=8).hexdigest()}"
    return f".{name}"
