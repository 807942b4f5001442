import pytest

from memotr.io.progress import NAME_LENGTH, pace, shortened


@pytest.mark.parametrize(
    ("speed", "words"), [(0, "0"), (0.0137, "0.014"), (0.98, "0.98"), (1, "1.0"), (24.96, "25.0"), (131.2, "131.2")]
)
def test_speeds_below_1_keep_two_digits(speed: float, words: str) -> None:
    assert pace(speed) == f"{words} frames/s"


def test_long_names_keep_both_ends() -> None:
    assert shortened("short.mp4") == "short.mp4"
    assert shortened("a" * NAME_LENGTH) == "a" * NAME_LENGTH
    assert shortened("yfcc_v_acef1cb6_0123456789.mp4") == "yfcc_v_ac…56789.mp4"
