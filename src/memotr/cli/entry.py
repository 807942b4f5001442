"""Entry point of the command line. Errors of the user are one line on stderr, with exit code 2."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from typing import Any, NoReturn

import typer

from memotr.addresses import without_secrets_of
from memotr.allocation import keep_freed_memory
from memotr.cli.application import app
from memotr.errors import MemotrWarning, UserError
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
"""Commands that suggest the extra ``eval`` if a library of ``train`` is missing; ``eval`` includes these libraries."""

REMEDIES = {
    errno.EACCES: "check the permissions of the file and of the folders above it",
    errno.EPERM: "check the permissions of the file and of the folders above it",
    errno.EMFILE: "raise the limit of open files, for example with `ulimit -n 1024`",
    errno.ENFILE: "too many files are open on this machine; close other programs",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENOMEM: "close other programs, or use fewer workers",
    errno.EROFS: "choose a writable folder with --output",
}
"""Error number of the operating system → remedy."""

UsageError: Any = typer.BadParameter.__bases__[0]
"""UsageError of Click, or of the copy of Click in newer versions of Typer."""

_usual_format = warnings.formatwarning


def main() -> None:
    """Run the command given by ``sys.argv``, and exit."""
    warnings.formatwarning = format_warning
    keep_freed_memory()
    try:
        with guarded_streams():
            code = run()
    except OSError as error:  # standard output failed, but standard error may still work
        with guarded_streams():
            fail(os_error_message(error))
    sys.exit(code)


def run() -> int:
    """Run the command and return its exit code; an error of the user is one line on stderr, and exit code 2.

    Stop signals (SIGTERM, SIGHUP, …) interrupt the command like Ctrl-C, unless it handles signals itself.
    """
    try:
        with interrupt_on_signals():
            return app(prog_name="memotr", standalone_mode=False) or 0
    except UsageError as error:
        if error.ctx is None or type(error).__name__ == "NoArgsIsHelpError":  # `memotr` alone
            error.show()
            sys.exit(error.exit_code)
        fail(f"{error.format_message().rstrip('.')} (see {error.ctx.command_path} --help)")
    except UserError as error:
        fail(str(error))
    except ImportError as error:
        if "libGL" in str(error):
            # Other packages install the desktop opencv-python, which overwrites the files of the headless one.
            fail(f"OpenCV needs libGL, which is missing; install headless OpenCV: {headless_opencv()}")
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        if extra == "train" and sys.argv[1:2] and sys.argv[1] in SCORING:
            extra = "eval"
        fail(f"{package} is required but not installed: pip install 'memotr[{extra}]'")
    except OSError as error:
        fail(os_error_message(error))
    except (KeyboardInterrupt, typer.Abort):
        note("stopped")
        return 128 + signal.SIGINT
    except Exception as error:
        if not out_of_memory(error):
            raise
        fail("out of memory; reduce input.short_side, the number of workers or --batch")


def os_error_message(error: OSError) -> str:
    """Return the message for an error of the operating system, with a remedy if one is known."""
    reason = error.strerror or str(error) or type(error).__name__
    remedy = REMEDIES.get(error.errno or 0)
    files = [str(file) for file in (error.filename, error.filename2) if file is not None]
    return ": ".join([*files, reason]) + (f"; {remedy}" if remedy else "")


def out_of_memory(error: Exception) -> bool:
    """Return whether an error means that main or GPU memory is exhausted.

    Messages are compared because PyTorch and OpenCV have no exception class for this on all devices.
    """
    return isinstance(error, MemoryError) or any(
        text in str(error) for text in ("can't allocate memory", "out of memory", "Insufficient memory")
    )


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a warning of this package as one line without source code, and other warnings as usual."""
    if issubclass(category, MemotrWarning):
        return f"memotr: {printable(message)}\n"
    return _usual_format(message, category, filename, lineno, line)


def fail(message: str) -> NoReturn:
    """Print a message and exit with code 2; credentials of addresses on the command line are removed."""
    note(without_secrets_of(sys.argv, message))
    sys.exit(2)


def headless_opencv() -> str:
    """Return the command that reinstalls the same version of headless OpenCV over the desktop files."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        pin = f"=={version('opencv-python-headless')}"
    except PackageNotFoundError:
        pin = ""
    return f"pip install --force-reinstall --no-deps opencv-python-headless{pin}"
