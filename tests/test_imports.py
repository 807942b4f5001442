"""The house rule, held over the import statements: imports point down only, and tracking never loads an extra."""

import graphlib
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tools.rooms import DRAWING, PACKAGE, ROWS, Import, draw, needs, package_imports

# Rooms that receive numbers: no settings class is defined in them.
WITHOUT_PYDANTIC = {"training", "tracking", "models", "structures", "boxes", "tracks", "errors"}

# Importing everything in the room on the left loads nothing named on the right, directly or by way of others.
EXTRAS = {
    *("lightning_fabric", "matplotlib", "scipy", "tensorboard", "jinja2"),
    *("onnx", "onnxruntime", "onnxscript", "supervision", "trackers", "trackeval", "transformers"),
    *("gdown", "huggingface_hub"),
}
MEDIA = {"av", "cv2"}
NOT_LOADED_BY = {
    "memotr": EXTRAS | MEDIA | {"numba"},  # the top module only: its names are loaded when used
    "memotr.cli": EXTRAS,
    "memotr.export": EXTRAS,
    "memotr.io": EXTRAS,
    "memotr.data": EXTRAS,
    "memotr.tracking": EXTRAS,
    "memotr.weights": EXTRAS | MEDIA,
    "memotr.models": (EXTRAS | MEDIA) - {"scipy"},  # Numba loads scipy where it is there
    "memotr.training": {"av", "supervision", "trackeval"},
    "memotr.metrics": {"torch", "trackeval", "matplotlib"},
    "memotr.evaluation": {"supervision", "trackeval"},
}


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    found = list(package_imports())
    assert len(found) > 10, f"the package was not found in {PACKAGE}"
    return found


def test_every_room_has_a_row() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    unplaced = rooms - set().union(*ROWS)
    assert not unplaced, f"{sorted(unplaced)}: say in ROWS which rooms these may import"


def test_imports_point_down(imports: list[Import]) -> None:
    height = {room: -row for row, rooms in enumerate(ROWS) for room in rooms}
    upward = [
        f"{entry.place}: {entry.room} imports {entry.target_room}"
        for entry in imports
        if entry.target_room and height[entry.target_room] > height[entry.room]
    ]
    assert not upward, "imports point down only:\n" + "\n".join(upward)


def test_no_two_rooms_need_each_other(imports: list[Import]) -> None:
    edges = needs(imports)
    try:
        order = list(graphlib.TopologicalSorter(edges).static_order())
    except graphlib.CycleError as error:
        pytest.fail("rooms import each other in a circle: " + " → ".join(reversed(error.args[1])))
    assert set(edges) <= set(order)


def test_the_drawing_shows_the_rooms_as_they_are(imports: list[Import]) -> None:
    assert DRAWING.read_text(encoding="utf-8") == draw(needs(imports)), "run python tools/rooms.py"


def test_settings_stay_in_config(imports: list[Import]) -> None:
    strays = [e.place for e in imports if e.room in WITHOUT_PYDANTIC and e.target.partition(".")[0] == "pydantic"]
    assert not strays, f"these rooms take plain values from config.py and never import pydantic: {strays}"


def modules_in(name: str) -> list[str]:
    """The module itself and all beneath it; for the package's top only itself."""
    folder = PACKAGE / name.partition(".")[2].replace(".", "/")
    if name == "memotr" or not folder.is_dir():
        return [name]
    inside = (path.relative_to(PACKAGE.parent).with_suffix("") for path in sorted(folder.rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in inside]


LOADED = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "triton":  # the CUDA kernel's compiler comes with CUDA builds only
            raise
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.parametrize("name", NOT_LOADED_BY)
def test_importing_a_room_loads_no_optional_library(name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} does not exist yet")
    modules = modules_in(name)
    result = subprocess.run([sys.executable, "-c", LOADED, *modules], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loaded = NOT_LOADED_BY[name] & set(result.stdout.split())
    assert not loaded, f"importing {', '.join(modules)} loads {sorted(loaded)}"
