"""Formats of data sets as downloaded: one module each, all yielding ``Recording``.

Every reader collects ``Problems`` and continues after a bad line, so that one pass finds all of them.
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
    CocoVideoFormat(),  # behind mot: other trackers leave such JSON beside MOT sequences
    Generated(),
)
"""All formats, in the order in which they are tried on a folder. To add one, write its module and add a line here."""


def known_format(name: str) -> str:
    """Return the name of a format, or ``auto``. Raises ValueError for an unknown name."""
    known = [format.name for format in FORMATS]
    if name not in ("auto", *known):
        raise ValueError(f"{brief(name)} is no format of data sets; there are auto, {', '.join(known)}")
    return name
