"""Entry point of the command line: a user's mistake ends in one line on stderr and exit code 2."""

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
from memotr.signals import interrupt_on_signals
from memotr.terminal import guarded_streams, note, printable

EXTRAS = {
    "lightning_fabric": "train",
    "tensorboard": "train",
    "scipy": "train",
    "matplotlib": "train",
    "jinja2": "eval",
    "trackeval": "bench",
    "supervision": "supervision",
    "trackers": "demo",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "transformers": "backbones",
}
"""Optional library → extra of this package that installs it."""

SCORING = ("eval", "score", "compare", "errors", "submit", "reproduce")
"""Commands that need the extra ``eval`` where a library of ``train`` is missing: ``eval`` brings those as well."""

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
"""Error number of the operating system → what to do about it."""

UsageError: Any = typer.BadParameter.__bases__[0]
"""Click's UsageError, or that of the copy of Click inside newer versions of Typer."""

_usual_format = warnings.formatwarning


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit."""
    warnings.formatwarning = format_warning
    keep_freed_memory()
    try:
        with guarded_streams():
            code = run()
    except OSError as error:  # standard output failed; standard error may still work
        with guarded_streams():
            fail(refusal(error))
    sys.exit(code)


def run() -> int:
    """Run the command and return its exit code; a user's mistake ends in one line and exit code 2.

    Every signal that asks to stop interrupts the command as Ctrl-C does, unless the command handles signals itself.
    """
    try:
        with interrupt_on_signals():
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
            # Other packages bring the desktop's opencv-python, whose files take the place of the headless ones.
            fail(f"OpenCV needs libGL, which is not here; this mends it: {headless_opencv()}")
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        if extra == "train" and sys.argv[1:2] and sys.argv[1] in SCORING:
            extra = "eval"
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
    """Return a message for an error of the operating system, with a remedy if there is one."""
    reason = error.strerror or str(error) or type(error).__name__
    remedy = REMEDIES.get(error.errno or 0)
    files = [str(file) for file in (error.filename, error.filename2) if file is not None]
    return ": ".join([*files, reason]) + (f"; {remedy}" if remedy else "")


def out_of_memory(error: Exception) -> bool:
    """Return whether an error means that main or GPU memory is used up; PyTorch and OpenCV have no class for it."""
    return isinstance(error, MemoryError) or any(
        text in str(error) for text in ("can't allocate memory", "out of memory", "Insufficient memory")
    )


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a warning of this package as one line without source code, and any other warning as usual."""
    if Path(__file__).parents[1] in Path(filename).parents:
        return f"memotr: {printable(message)}\n"
    return _usual_format(message, category, filename, lineno, line)


def fail(message: str) -> NoReturn:
    """Print a message without the credentials of any address on the command line, and exit with code 2."""
    note(without_secrets_of(sys.argv, message))
    sys.exit(2)


def headless_opencv() -> str:
    """Return the command that reinstalls headless OpenCV, at the installed version, over the desktop files."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        pin = f"=={version('opencv-python-headless')}"
    except PackageNotFoundError:
        pin = ""
    return f"pip install --force-reinstall --no-deps opencv-python-headless{pin}"
