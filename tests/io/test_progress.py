import pytest

from memotr.io.progress import pace


@pytest.mark.parametrize(
    ("speed", "words"), [(0, "0"), (0.0137, "0.014"), (0.98, "0.98"), (1, "1.0"), (24.96, "25.0"), (131.2, "131.2")]
)
def test_slow_is_told_from_nothing(speed: float, words: str) -> None:
    assert pace(speed) == f"{words} frames/s"
