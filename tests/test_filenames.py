"""Names of files that come from strangers."""

from __future__ import annotations

import pytest

from memotr.errors import UserError
from memotr.filenames import check_filename, clean_filename, is_inside, unusable

USABLE = ["dancetrack0001", "v_-9kabh1K8UA_c008", "b1c66a42-6f7d68ca", "a.b", "straße 人", "..a", "10:30", "[red]"]
UNUSABLE = [
    *("", " ", ".", "..", "../x", "/etc/x", "a/b", "..\\x", "C:\\evil", "c:evil", "x" * 201, "人" * 67),
    *("a\0b", "a\nb", "a\tb", "\x1b[31m", "a\x9b", "gnp.\u202exe", "\udcff", "\ud800", "a\u2028b"),
]


@pytest.mark.parametrize("name", USABLE)
def test_usable_names_stay_as_they_are(name: str) -> None:
    assert check_filename(name, "labels.json") == name
    assert clean_filename(name) == name


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_names_are_refused_or_replaced(name: str) -> None:
    with pytest.raises(UserError) as error:
        check_filename(name, "labels.json")
    line = str(error.value)
    assert line.startswith("labels.json: the name '")
    assert line.isprintable()
    assert len(line) < 200
    clean = clean_filename(name)
    assert unusable(clean) is None
    assert len(clean.encode()) <= 200


def test_a_colon_is_no_reason_to_lose_a_name() -> None:
    assert [clean_filename(name) for name in ("a:b", "cam: 10:30")] == ["a_b", "cam: 10:30"]


@pytest.mark.parametrize("path", ["a.jpg", "a/b/c.jpg", "./a.jpg", "a..b/c.jpg", "a/人.jpg"])
def test_paths_within_their_folder(path: str) -> None:
    assert is_inside(path)


@pytest.mark.parametrize(
    "path", ["", "/a.jpg", "../a.jpg", "a/../../b.jpg", "a/..", "..\\a.jpg", "a\0.jpg", "C:\\a.jpg", "c:a.jpg"]
)
def test_paths_out_of_their_folder(path: str) -> None:
    assert not is_inside(path)
