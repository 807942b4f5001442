"""The entry point: bad input is one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import typer

from memotr.allocation import keep_freed_memory
from memotr.cli.application import app
from memotr.errors import UserError

EXTRAS = {
    "lightning_fabric": "train",
    "tensorboard": "train",
    "scipy": "train",
    "matplotlib": "train",
    "trackeval": "eval",
    "trackers": "demo",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
}
"""Which extra of this package brings a library that tracking can do without."""

SCORING = ("eval", "score", "compare", "errors", "submit")
"""Commands that need all of the extra ``eval``, whatever they miss first."""

UsageError: Any = typer.BadParameter.__bases__[0]
"""Of Click, or of the Click that newer versions of Typer hold inside."""

_usual_format = warnings.formatwarning


def main() -> None:
    """Run the command that was asked for."""
    warnings.formatwarning = format_warning
    keep_freed_memory()
    try:
        code = app(prog_name="memotr", standalone_mode=False)
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
    sys.exit(code)


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """One line for what this package warns of: it is for users, who need no line of code. Others keep their form."""
    if Path(__file__).parents[1] in Path(filename).parents:
        return f"memotr: {message}\n"
    return _usual_format(message, category, filename, lineno, line)


def fail(message: str) -> NoReturn:
    """Say what is wrong, and leave."""
    print(f"memotr: {message}", file=sys.stderr)
    sys.exit(2)


def headless_opencv() -> str:
    """The command that lays OpenCV's headless files over the desktop's, at the version that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        pin = f"=={version('opencv-python-headless')}"
    except PackageNotFoundError:
        pin = ""
    return f"pip install --force-reinstall --no-deps opencv-python-headless{pin}"
