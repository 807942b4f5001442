"""What the entry point makes of warnings."""

from __future__ import annotations

import sys
import warnings

import pytest

import memotr
from memotr.cli import entry


def test_own_warnings_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    monkeypatch.setattr(sys, "argv", ["memotr", "--help"])
    with pytest.raises(SystemExit):
        entry.main()
    assert warnings.formatwarning("too short: a", UserWarning, memotr.__file__, 7) == "memotr: too short: a\n"
    other = warnings.formatwarning("old", FutureWarning, "/elsewhere/library.py", 7)
    assert other.startswith("/elsewhere/library.py:7: FutureWarning: old\n")
