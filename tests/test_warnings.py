"""Warnings name the line of the user's program, however deep in the package they arise."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from memotr import Tracker, load_model
from memotr.errors import MemotrWarning
from tests.builders import tiny_model


def line_of(call) -> int:
    """Number of the only line of a function."""
    return call.__code__.co_firstlineno


@pytest.mark.parametrize("call", [lambda: Tracker("synthdance"), lambda: load_model("synthdance")])
def test_a_warning_names_the_line_that_called(call):
    with pytest.warns(MemotrWarning, match="trained on generated dancers only") as found:
        call()
    assert [(warning.filename, warning.lineno) for warning in found] == [(__file__, line_of(call))]


def test_decorators_and_modules_of_pytorch_in_between_are_skipped():
    model = tiny_model()
    model.config = model.config.model_copy(update={"tracking": model.config.tracking.override({"max_tracks": 2})})
    tracker = Tracker(model, det_thresh=0.0, track_thresh=0.0)

    def call():
        tracker.update(np.zeros((48, 64, 3), np.uint8))

    with pytest.warns(MemotrWarning, match="the limit set by tracking.max_tracks") as found:
        call()
    assert [(warning.filename, warning.lineno) for warning in found] == [(__file__, line_of(call) + 1)]


def test_a_program_may_turn_them_off():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", MemotrWarning)
        load_model("synthdance")


def test_in_a_thread_there_is_no_such_line():
    code = (
        "import threading, memotr.errors as e; t = threading.Thread(target=e.warn, args=['slow']); t.start(); t.join()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("MemotrWarning: slow") == 1
