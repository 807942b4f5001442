"""Formats of data sets as their users download them: one file each, all yielding ``Recording``.

Every reader takes a ``Problems`` and goes on after a bad line, so that one pass finds all that is wrong.
"""

from memotr.data.formats.bdd100k import Bdd100k
from memotr.data.formats.coco_video import CocoVideoFormat
from memotr.data.formats.crowdhuman import CrowdHuman
from memotr.data.formats.dataset_format import DatasetFormat
from memotr.data.formats.generated import Generated
from memotr.data.formats.mot import Mot, Mot17, MotSynth
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
"""All formats, in the order in which a folder is compared with them: to add one, write its file and add its line."""


def known_format(name: str) -> str:
    """Return the name of a format, or ``auto``. Raises ValueError where there is none of this name."""
    known = [format.name for format in FORMATS]
    if name not in ("auto", *known):
        raise ValueError(f"{brief(name)} is no format of data sets; there are auto, {', '.join(known)}")
    return name
