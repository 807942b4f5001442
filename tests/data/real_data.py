"""Where real sequences lie, for tests that are skipped without them: $MEMOTR_TEST_DATA, or shared/data beside us."""

import os
from pathlib import Path

import pytest

REAL_DATA = Path(os.environ.get("MEMOTR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def real(name: str) -> Path:
    """A folder of the real data; skips the test where it is not."""
    folder = REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not here (MEMOTR_TEST_DATA)")
    return folder
