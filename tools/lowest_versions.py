"""Print constraints for pip with the lowest versions that pyproject.toml claims.

python tools/lowest_versions.py > lowest.txt && pip install -c lowest.txt -e ".[test]"

``name>=x`` becomes ``name==x``. torch keeps the pin of constraints.txt: its lowest version is claimed for CUDA, and the
tests run on a CPU. What the dependencies depend on themselves stays free, so pip takes the newest that fits.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINNED = ("torch",)  # by constraints.txt
CLAIM = re.compile(r"(?P<name>[\w.-]+)>=(?P<version>[\w.]+)(?P<marker>;.*)?")


def lowest_versions(pyproject: str, constraints: str) -> Iterator[str]:
    """Yield the lines of a constraints file.

    Args:
        pyproject: text of pyproject.toml.
        constraints: text of constraints.txt.

    Raises:
        ValueError: a dependency has no lowest version.
    """
    project = tomllib.loads(pyproject)["project"]
    pins = dict(line.split("==") for line in constraints.splitlines() if "==" in line and not line.startswith("#"))
    claims = chain(project["dependencies"], *project["optional-dependencies"].values())
    for claim in dict.fromkeys(claims):
        if claim.startswith(f"{project['name']}["):
            continue
        match = CLAIM.fullmatch(claim)
        if match is None:
            raise ValueError(f"{claim!r}: write name>=version")
        version = pins[match["name"]] if match["name"] in PINNED else match["version"]
        yield f"{match['name']}=={version}{match['marker'] or ''}"


if __name__ == "__main__":
    print(*lowest_versions((ROOT / "pyproject.toml").read_text(), (ROOT / "constraints.txt").read_text()), sep="\n")
