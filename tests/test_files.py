"""Output files: drafts, leftovers of killed processes, and who may write where."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from memotr import files
from memotr.errors import UserError
from memotr.files import (
    DRAFT,
    Draft,
    append_line,
    check_writable,
    hold_file,
    hold_folder,
    hold_run,
    replacing,
    replacing_folder,
)

LEFT = ".a.txt.0123456789abcdef.part"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and links of POSIX")


@contextmanager
def another_process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs some code, which prints a line once it is where it is to be."""
    command = [sys.executable, "-c", f"import sys\nfrom memotr import files\nfrom pathlib import Path\n{code}"]
    with subprocess.Popen(
        [*command, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


WAIT = "print('there', flush=True); sys.stdin.read()"
DRAWING = f"draft = files.Draft(Path(sys.argv[1])); draft.part.write_text('half'); {WAIT}"
HOLDING = f"with getattr(files, sys.argv[1])(Path(sys.argv[2])): {WAIT}"


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_draft_takes_its_place_once_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as part:
        assert DRAFT.fullmatch(part.name)
        assert part.parent == path.parent
        part.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"

    def write_and_fail(error: Exception) -> None:
        with replacing(path) as part:
            part.write_text("two")
            raise error

    with pytest.raises(ZeroDivisionError):
        write_and_fail(ZeroDivisionError())
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: No space left"):
        write_and_fail(OSError(28, "No space left on device"))
    assert path.read_text() == "one"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "a.txt") as part:
            part.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_a_name_that_is_taken_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exclusive creation: neither a link nor a FIFO that lies under the draft's name is followed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0123456789abcdef")
    for make in (lambda file: file.symlink_to(victim), os.mkfifo):
        make(tmp_path / LEFT)
        with pytest.raises(UserError, match="cannot write"):
            check_writable(tmp_path / "a.txt")
        (tmp_path / LEFT).unlink()
    assert victim.read_text() == "precious"


def test_a_link_is_replaced_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a.txt").symlink_to("victim")
    with replacing(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert not (tmp_path / "a.txt").is_symlink()
    assert ((tmp_path / "a.txt").read_text(), (tmp_path / "victim").read_text()) == ("new", "precious")


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*fifo: something that is not a regular file has that name"):
        check_writable(tmp_path / "fifo")
    with pytest.raises(UserError, match=r"cannot write .*folder: a folder has that name"):
        check_writable(tmp_path / "folder")
    assert names(tmp_path) == ["fifo", "folder"]


@pytest.mark.parametrize("name", ["n" * 251 + ".txt", "名" * 84 + ".md"])
def test_the_longest_names(tmp_path: Path, name: str) -> None:
    with hold_file(tmp_path / name), replacing(tmp_path / name, suffix=".txt") as part:
        part.write_text("x")
        (first := Draft(tmp_path / name[1:])).release()
    Draft(tmp_path / name[1:]).drop()
    assert not first.part.exists()
    assert names(tmp_path) == [name]


def test_leftovers_of_a_killed_process_are_removed_by_the_next_writer(tmp_path: Path) -> None:
    with another_process(DRAWING, tmp_path / "a.txt") as process:
        (left,) = names(tmp_path)
        check_writable(tmp_path / "a.txt")
        assert names(tmp_path) == [left], "it has a living writer"
        process.kill()
        process.wait()
        check_writable(tmp_path / "b.txt")
        assert names(tmp_path) == [left], "another file's"
        check_writable(tmp_path / "a.txt")
        assert names(tmp_path) == []


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / LEFT).symlink_to("victim")
    os.mkfifo(tmp_path / LEFT.replace("0", "1"))
    mine = ["a.txt.part", ".a.txt.part", ".a.txt.backup.part", ".aa.txt.0123456789abcdef.part"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    there = names(tmp_path)
    check_writable(tmp_path / "a.txt")
    assert names(tmp_path) == there


def test_folders_appear_when_they_are_full(tmp_path: Path) -> None:
    (tmp_path / ".a.0123456789abcdef.part" / "deep").mkdir(parents=True)
    with replacing_folder(tmp_path / "a") as part:
        (part / "deep").mkdir()
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == ["a"]
    with pytest.raises(UserError, match="Is a directory"), replacing_folder(tmp_path / "b") as part:
        part.write_text("x")
    assert names(tmp_path) == ["a"]


def test_lines_are_appended_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    append_line(path, "one")
    append_line(path, "ä")
    assert path.read_text() == "one\nä\n"
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try: files.append_line(Path(sys.argv[1]), "x" * 50)
except Exception as error: print(type(error).__name__, error)
"""
    with another_process(code, path) as process:
        assert process.wait() == 0
    assert path.read_text() == "one\nä\n"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(UserError, match="cannot write"):
        append_line(tmp_path / "link", "three")


@pytest.mark.parametrize(("hold", "doing"), [("hold_file", "writing this file"), ("hold_folder", "using this folder")])
def test_one_process_at_a_time(tmp_path: Path, hold: str, doing: str) -> None:
    path = tmp_path / "a"
    held: Callable[[Path], AbstractContextManager[None]] = getattr(files, hold)
    with another_process(HOLDING, hold, path) as process:
        with pytest.raises(UserError, match=rf"{path}: another process is {doing}; wait for it to end"), held(path):
            pass
        with held(tmp_path / "b"):
            pass
        process.kill()
        process.wait()
        with held(path):
            pass
    with held(path), pytest.raises(UserError, match="another process"), held(path):
        pass
    assert not list(tmp_path.rglob("*.lock"))


def test_a_child_does_not_hold_locks_that_its_parent_released(tmp_path: Path) -> None:
    """As workers that read clips, which live a little longer than a killed training.

    The child prints the line that is waited for: by then it has closed its copies.
    """
    code = f"""
import os
with files.hold_folder(Path(sys.argv[1])), files.replacing(Path(sys.argv[1]) / "a.txt"):
    if os.fork() == 0:
        {WAIT}
        os._exit(0)
    sys.stdin.read()
"""
    with another_process(code, tmp_path) as process:
        process.kill()
        process.wait()
        with hold_folder(tmp_path):
            assert names(tmp_path) == [".lock"]


def test_one_of_many_that_begin_at_the_same_time(tmp_path: Path) -> None:
    """Lock files come and go, and there is never a moment at which two hold the folder."""
    code = """
for _ in range(300):
    try:
        with files.hold_folder(Path(sys.argv[1])):
            (Path(sys.argv[1]) / "inside").mkdir()
            (Path(sys.argv[1]) / "inside").rmdir()
    except files.UserError: pass
print("done")
"""
    with another_process(code, tmp_path) as one, another_process(code, tmp_path) as other:
        assert (one.wait(), other.wait()) == (0, 0)
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", [os.mkfifo, Path.touch], ids=["fifo", "file"])
def test_other_files_with_the_name_of_a_lock(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".lock")
    with hold_folder(tmp_path):
        pass
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=r"\.lock is a symbolic link; remove it"), hold_folder(tmp_path):
        pass
    assert not (tmp_path / "victim").exists()


def test_taking_a_folder_removes_leftovers_in_it(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "figures"):
        place.mkdir(exist_ok=True)
        (place / LEFT).write_text("half")
        (place / LEFT.replace(".part", ".part.onnx")).write_text("half")
    (tmp_path / "figures" / ".mine.part").write_text("mine")
    living = Draft(tmp_path / "b")
    with hold_folder(tmp_path):
        assert names(tmp_path) == sorted([living.part.name, ".lock", "figures"])
    assert names(tmp_path / "figures") == [".mine.part"]
    living.drop()


def test_without_locks_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems; nobody can tell then what is a leftover."""

    def no_locks(handle: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    (tmp_path / LEFT).write_text("half")
    with hold_folder(tmp_path), replacing(tmp_path / "a.txt") as part:
        part.write_text("x")
    assert names(tmp_path) == [LEFT, "a.txt"]


class Rank:
    """One of several processes: the first, or one that hears from it."""

    def __init__(self, heard: bool | None) -> None:
        self.is_global_zero = heard is None
        self.heard = heard

    def broadcast(self, obj: Any, /) -> Any:
        return obj if self.is_global_zero else self.heard


def test_a_run_of_several_ranks(tmp_path: Path) -> None:
    with hold_run(Rank(None), tmp_path), hold_run(Rank(False), tmp_path):
        with pytest.raises(UserError, match="another process"), hold_run(Rank(None), tmp_path):
            pass
        with pytest.raises(SystemExit), hold_run(Rank(True), tmp_path):
            pass
    with hold_run(Rank(None), tmp_path):
        pass


def test_killed_while_writing(tmp_path: Path) -> None:
    """The older file is there at every moment."""
    (tmp_path / "a.txt").write_text("old")
    with another_process(DRAWING, tmp_path / "a.txt") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert (tmp_path / "a.txt").read_text() == "old"
