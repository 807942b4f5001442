"""The entry point: bad input is one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import typer

from memotr.addresses import without_secrets_of
from memotr.allocation import keep_freed_memory
from memotr.cli.application import app
from memotr.errors import UserError
from memotr.terminal import guarded_streams, note, printable

EXTRAS = {
    "lightning_fabric": "train",
    "tensorboard": "train",
    "scipy": "train",
    "matplotlib": "train",
    "jinja2": "eval",
    "trackeval": "eval",
    "trackers": "demo",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
}
"""Which extra of this package brings a library that tracking can do without."""

SCORING = ("eval", "score", "compare", "errors", "submit")
"""Commands that need all of the extra ``eval``, whatever they miss first."""

REMEDIES = {
    errno.EACCES: "check the permissions of the file and of the folders above it",
    errno.EPERM: "check the permissions of the file and of the folders above it",
    errno.EMFILE: "raise the limit of open files, as with `ulimit -n 1024`",
    errno.ENFILE: "too many files are open on this machine; close other programs",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENOMEM: "close other programs, or use fewer workers",
    errno.EROFS: "name a folder that can be written with --output",
}
"""What to do about errors of the operating system, where it is not plain."""

UsageError: Any = typer.BadParameter.__bases__[0]
"""Of Click, or of the Click that newer versions of Typer hold inside."""

_usual_format = warnings.formatwarning


def main() -> None:
    """Run the command that was asked for."""
    warnings.formatwarning = format_warning
    keep_freed_memory()
    try:
        with guarded_streams():
            code = run()
    except OSError as error:  # of standard output; standard error may have more luck
        with guarded_streams():
            fail(refusal(error))
    sys.exit(code)


def run() -> int:
    """Run the command, and return its exit code; what users can cause becomes one line and exit code 2."""
    try:
        return app(prog_name="memotr", standalone_mode=False) or 0
    except UsageError as error:
        if error.ctx is None or type(error).__name__ == "NoArgsIsHelpError":  # `memotr` alone
            error.show()
            sys.exit(error.exit_code)
        fail(f"{error.format_message().rstrip('.')} ({error.ctx.command_path} --help says what there is)")
    except UserError as error:
        fail(str(error))
    except ImportError as error:
        if "libGL" in str(error):
            # trackeval brings the desktop's opencv-python, whose files take the place of opencv-python-headless'.
            fail(f"OpenCV needs libGL, which is not here; this mends it: {headless_opencv()}")
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = "eval" if sys.argv[1:2] and sys.argv[1] in SCORING else EXTRAS[package]
        fail(f"this needs {package}, which is not installed: pip install 'memotr[{extra}]'")
    except OSError as error:
        fail(refusal(error))
    except (KeyboardInterrupt, typer.Abort):
        note("stopped")
        return 128 + signal.SIGINT
    except Exception as error:
        if not out_of_memory(error):
            raise
        fail("out of memory; a smaller input.short_side, fewer workers or --batch 1 need less")


def refusal(error: OSError) -> str:
    """Return what the operating system refused, and what may be done about it."""
    reason = error.strerror or str(error) or type(error).__name__
    remedy = REMEDIES.get(error.errno or 0)
    files = [str(file) for file in (error.filename, error.filename2) if file is not None]
    return ": ".join([*files, reason]) + (f"; {remedy}" if remedy else "")


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is used up, the GPU's included: PyTorch and OpenCV have no class for it."""
    return isinstance(error, MemoryError) or any(
        text in str(error) for text in ("can't allocate memory", "out of memory", "Insufficient memory")
    )


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """One line for what this package warns of: it is for users, who need no line of code. Others keep their form."""
    if Path(__file__).parents[1] in Path(filename).parents:
        return f"memotr: {printable(message)}\n"
    return _usual_format(message, category, filename, lineno, line)


def fail(message: str) -> NoReturn:
    """Say what is wrong, and leave. Whatever refused an argument, an address in it keeps its credentials to itself."""
    note(without_secrets_of(sys.argv, message))
    sys.exit(2)


def headless_opencv() -> str:
    """The command that lays OpenCV's headless files over the desktop's, at the version that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        pin = f"=={version('opencv-python-headless')}"
    except PackageNotFoundError:
        pin = ""
    return f"pip install --force-reinstall --no-deps opencv-python-headless{pin}"
