"""Data set formats: one module for each, with a reader that yields a ``Recording`` per sequence.

Readers collect ``Problems`` and continue after a bad line, so that one pass finds all of them.
"""

from memotr.data.formats.bdd100k import Bdd100k
from memotr.data.formats.coco_video import CocoVideoFormat
from memotr.data.formats.crowdhuman import CrowdHuman
from memotr.data.formats.dataset_format import DatasetFormat
from memotr.data.formats.generated import Generated
from memotr.data.formats.mot_layout import Mot, Mot17, MotSynth
from memotr.data.formats.visdrone import VisDrone
from memotr.documents import brief

FORMATS: tuple[DatasetFormat, ...] = (
    CrowdHuman(),
    Bdd100k(),
    MotSynth(),
    VisDrone(),
    Mot17(),
    Mot(),
    CocoVideoFormat(),  # after mot: other trackers store such JSON files next to MOT sequences
    Generated(),
)
"""All formats, in the order in which they are tried on a folder. To add one, write its module and add a line here."""


def known_format(name: str) -> str:
    """Return ``name`` if it is the name of a format or ``auto``. Raises ValueError for an unknown name."""
    known = [format.name for format in FORMATS]
    if name not in ("auto", *known):
        raise ValueError(f"{brief(name)} is not a data set format; choose one of auto, {', '.join(known)}")
    return name
