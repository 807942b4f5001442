import os

import pytest

from memotr.bench.contention import KINDS, frame_rate, make_clips, ratio
from memotr.bench.measure import Spread
from memotr.openmp import USER_SETTINGS


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((0.5, 1.5, 2.0, 2.5, 3.5), 20.0),  # two steps of ten frames between the first and the last in the window
        ((0.5, 2.0), 5.0),  # ten frames in two seconds, at most
        ((), 5.0),
    ],
)
def test_frames_are_counted_inside_the_window(times, expected):
    assert frame_rate(times, 10, began=1.0, ended=3.0) == expected


def test_ratios_are_of_medians_and_of_rounds():
    assert ratio([2.0, 4.0, 9.0], [2.0, 2.0, 3.0]) == Spread(2.0, (1.0, 2.0, 3.0))


def test_only_the_baseline_gets_openmp_settings(monkeypatch):
    for name in USER_SETTINGS:
        monkeypatch.setenv(name, "1")
    baseline, *ours = [kind.environment() for kind in KINDS]
    assert baseline["GOMP_SPINCOUNT"] == "300000"
    assert not any(name in settings for settings in ours for name in USER_SETTINGS)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there, and nothing is measured")
def test_clips_have_different_names_and_the_same_content(tmp_path):
    first, second = make_clips(tmp_path, 2)
    assert first.stem != second.stem
    assert first.samefile(second)
