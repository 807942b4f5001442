"""Odd ground-truth files: what training and scoring read from each of them.

One table for both, because both have to agree on what a file says.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.problems import Problems
from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth

HEIGHT, WIDTH, LENGTH = 48, 64, 3  # of every video
USUAL_BOX: tuple[float, ...] = (10, 10, 30, 30)
CLIP = "clip"  # the video of the JSON cases


@dataclass(frozen=True)
class Row:
    """One box as training or scoring gets it; ``flags`` is empty for a box that counts."""

    position: int
    id: int
    class_name: str
    box: tuple[float, ...]
    flags: str = ""


def trainable(root: Path) -> tuple[list[list[Row]], list[str]]:
    """Return the boxes of each sequence that training uses, and the notes."""
    problems = Problems()
    sequences = load_split(DatasetSpec(root, "train"), problems=problems)
    rows = [
        [
            Row(position, i, sequence.classes[label], tuple(box))
            for position, frame in enumerate(sequence.boxes or ())
            for i, label, box in zip(frame.ids.tolist(), frame.labels.tolist(), frame.boxes.tolist(), strict=True)
        ]
        for sequence in sequences
    ]
    return rows, [str(note) for note in problems.notes]


def scored(root: Path) -> list[list[Row]]:
    """Return the boxes of each sequence that scoring uses: objects first, then ignore regions."""
    truth = load_ground_truth(root, split="train")
    found: list[list[Row]] = []
    for sequence in truth.sequences:
        both = zip(sequence.objects.ignore.tolist(), sequence.distractors.tolist(), strict=True)
        of_objects = ["ignored" * ignored + " distractor" * distractor for ignored, distractor in both]
        rows: list[Row] = []
        for table, flags in ((sequence.objects, of_objects), (sequence.regions, ["region"] * len(sequence.regions))):
            columns = (table.frames.tolist(), table.ids.tolist(), table.labels.tolist(), table.boxes.tolist(), flags)
            rows += [
                Row(position, i, truth.classes[label] if label >= 0 else "-", tuple(box), flag)
                for position, i, label, box, flag in zip(*columns, strict=True)
            ]
        found.append(rows)
    return found


@dataclass(frozen=True)
class Refused:
    """An error.

    Attributes:
        fragment: regular expression that its message matches.
        place: number of the line, or a regular expression for the place in a JSON file; None: of the whole file.
    """

    fragment: str
    place: int | str | None = None

    def matches(self, message: str) -> bool:
        """Return whether this is the message, as ``file:line: …`` or as ``file, line N: …``."""
        place = rf"(:|, line ){self.place}: " if isinstance(self.place, int) else self.place or ""
        return re.search(place, message) is not None and re.search(self.fragment, message) is not None


Outcome = str | Refused
"""Boxes as :func:`shown` writes them, or an error."""


@dataclass(frozen=True)
class Case:
    """One odd file.

    Attributes:
        name: of the test.
        content: text of a gt.txt, or one for each of several sequences, or JSON (a list: Scalabel; else COCO video).
        trainable, scored: what is wanted.
        note: regular expression that the only note of training matches; None: there is no note.
        classes: ``classes`` of dataset.yaml.
        sequence: name of the sequence where the rules follow from it.
    """

    name: str
    content: Any
    trainable: Outcome
    scored: Outcome
    note: str | None = None
    classes: str = ""
    sequence: str = "a"

    @property
    def format(self) -> Literal["mot", "bdd100k", "coco-video"]:
        if isinstance(self.content, dict) and "videos" in self.content:
            return "coco-video"
        scalabel = isinstance(self.content, list) or (isinstance(self.content, dict) and "frames" in self.content)
        return "bdd100k" if scalabel else "mot"


def refused(name: str, content: Any, fragment: str, place: int | str | None = None, **more: Any) -> Case:
    """Return a case that training and scoring refuse alike."""
    error = Refused(fragment, place)
    return Case(name, content, error, error, **more)


def shown(sequences: list[list[Row]], letters: bool, digits: int) -> str:
    """Return boxes as ``position id class[ x1,y1,x2,y2][ flags]``; ``|`` stands between sequences.

    The box is left out where it is the usual one. With ``letters``, tracks are a, b, … in the order in which they
    appear: ids that are text become numbers that have no meaning of their own.
    """
    texts = []
    for rows in sequences:
        known: dict[int, str] = {}
        parts = []
        for row in rows:
            track = known.setdefault(row.id, chr(ord("a") + len(known))) if letters else str(row.id)
            box = "" if row.box == USUAL_BOX else ",".join(f"{value:.{digits}g}" for value in row.box)
            parts.append(" ".join(filter(None, (str(row.position), track, row.class_name, box, row.flags))))
        texts.append("; ".join(parts))
    return " | ".join(texts)


# MOTChallenge text.

ONE = "1,1,10,10,20,20,1,1,1\n"
PERSON, OBJECT = "0 1 person", "0 1 object"  # what training and scoring make of it
TWO_PERSONS, TWO_OBJECTS = "0 1 person; 1 1 person", "0 1 object; 1 1 object"
NAME_THEM = "classes have no names, only numbers"

LAYOUT = [
    Case("9 columns", ONE + "2,1,10,10,20,20,1,1,0.5\n", TWO_PERSONS, TWO_OBJECTS),
    Case("8 columns", "1,1,10,10,20,20,1,1\n", PERSON, OBJECT),
    Case("7 columns", "1,1,10,10,20,20,1\n1,2,10,10,20,20,0\n", PERSON, f"{OBJECT}; 0 2 object ignored"),
    Case("6 columns", "1,1,10,10,20,20\n", PERSON, OBJECT),
    Case("10 columns of MOT15, the last three are coordinates", "1,1,10,10,20,20,1,4.5,-5.5,0\n", PERSON, OBJECT),
    Case("10 columns with −1", "1,1,10,10,20,20,1,-1,-1,-1\n", PERSON, OBJECT),
    Case(
        "11 columns",
        "1,1,10,10,20,20,1,4.5,-5.5,0,7\n",
        PERSON,
        OBJECT,
    ),
    Case(
        "12 columns",
        "1,1,10,10,20,20,1,4.5,-5.5,0,7,8\n",
        PERSON,
        OBJECT,
    ),
    Case(
        "10 columns, the eighth with a class",
        "1,1,10,10,20,20,1,2,-1,-1\n2,1,10,10,20,20,1,2,-1,-1\n1,2,10,10,20,20,1,1,-1,-1\n1,3,10,10,20,20,0,0,0,0\n",
        "0 1 dog; 0 2 cat; 1 1 dog",
        "0 1 dog; 0 2 cat; 0 3 cat ignored; 1 1 dog",
        note="column 8 of 10 has positive whole numbers: used as classes",
        classes="[cat, dog]",
    ),
    Case(
        "10 columns of MOT15 with whole coordinates, which change",
        "1,1,10,10,20,20,1,4,5,0\n2,1,10,10,20,20,1,6,5,0\n",
        TWO_PERSONS,
        TWO_OBJECTS,
    ),
    Case(
        "VisDrone's columns",
        "1,0,0,0,9,9,0,0,0,0\n1,0,9,9,9,9,0,0,0,0\n1,1,10,10,20,20,1,1,0,0\n1,2,10,10,20,20,1,4,1,2\n"
        "1,3,10,10,20,20,1,3,0,0\n1,4,0,0,5,5,1,11,0,0\n2,1,10,10,20,20,1,1,0,0\n",
        "0 1 pedestrian; 0 2 car; 1 1 pedestrian",
        "0 1 pedestrian; 0 2 car; 0 3 pedestrian ignored; 1 1 pedestrian; "
        "0 0 - 0,0,9,9 region; 0 0 - 9,9,18,18 region; 0 4 - 0,0,5,5 region",
        note="columns 7 to 10 are those of VisDrone",
    ),
    Case(
        "VisDrone's columns, classes named",
        "1,0,0,0,9,9,0,0,0,0\n1,0,9,9,9,9,0,0,0,0\n1,1,10,10,20,20,1,1,0,0\n1,3,10,10,20,20,1,3,0,0\n",
        "0 1 person; 0 3 bicycle",
        "0 1 person; 0 3 bicycle; 0 0 - 0,0,9,9 region; 0 0 - 9,9,18,18 region",
        note="columns 7 to 10 are those of VisDrone",
        classes="{1: person, 3: bicycle}",
    ),
    refused("5 columns", "1,1,10,10,20\n", "columns|values", 1),
    refused("lines with fewer columns than the first", ONE + "2,1,10,10,20,20\n", "6 (columns|values)", 2),
    refused("lines with more columns than the first", "1,1,10,10,20,20\n2" + ONE[1:], "9 (columns|values)", 2),
    Case("commas and spaces", "1, 1, 10, 10, 20, 20, 1, 1, 1\n", PERSON, OBJECT),
    Case(
        "spaces",
        ONE.replace(",", " "),
        PERSON,
        OBJECT,
    ),
    Case(
        "tabs",
        ONE.replace(",", "\t"),
        PERSON,
        OBJECT,
    ),
    Case(
        "a comma at the end of every line",
        "1,1,10,10,20,20,1,1,1,\n2,1,10,10,20,20,1,1,1,\n",
        TWO_PERSONS,
        TWO_OBJECTS,
    ),
    Case(
        "a comma at the end of some lines",
        ONE + "2,1,10,10,20,20,1,1,1,\n",
        TWO_PERSONS,
        TWO_OBJECTS,
    ),
    refused("an empty cell", ONE + "2,1,10,,20,20,1,1,1\n", "'' is not a number", 2),
    Case("an empty file", "", Refused("no boxes in any of its 1 sequences"), ""),
    Case("blank lines only", "\n  \n", Refused("no boxes in any of its 1 sequences"), ""),
    Case("an empty file beside another", {"a": "", "b": ONE}, f" | {PERSON}", f" | {OBJECT}", note="no rows"),
    Case("blank lines", "\n" + ONE + "\n \t\n2" + ONE[1:] + "\n", TWO_PERSONS, TWO_OBJECTS),
    refused("line numbers behind blank lines", "\n" + ONE + "\n \n2,1.5" + ONE[3:], "1.5 is not", 5),
    Case("a byte order mark", "\ufeff" + ONE, PERSON, OBJECT),
    Case("line ends of Windows", (ONE + "2" + ONE[1:]).replace("\n", "\r\n"), TWO_PERSONS, TWO_OBJECTS),
    Case("no line end at the end", ONE.strip(), PERSON, OBJECT),
    Case("frames in any order", "2" + ONE[1:] + ONE, TWO_PERSONS, TWO_OBJECTS),
    Case("whole numbers written as decimals", "1.0,1e0,1e1,10.,2E+1,20.00,1.0,1.0,1\n", PERSON, OBJECT),
    refused("a comment", "# written by a tool\n" + ONE, "#|expected", 1),
    refused("a header", "frame,id,left,top,width,height,mark,class,visibility\n" + ONE, "'frame' is not a number", 1),
    refused("a text cell", ONE + "2,1,10,ten,20,20,1,1,1\n", "'ten' is not a number", 2),
    refused("not UTF-8", ONE.encode() + b"\xff\n", "UTF-8"),
]

MARKS = ("0", "0.5", "-0.9", "1", "1.7", "2", "-1")
MARKS_AND_CLASSES = [
    Case(
        "the integer part of a mark counts",
        "".join(f"1,{k},10,10,20,20,{mark},1,1\n" for k, mark in enumerate(MARKS)),
        "0 3 person; 0 4 person; 0 5 person; 0 6 person",
        "0 0 object ignored; 0 1 object ignored; 0 2 object ignored; 0 3 object; 0 4 object; 0 5 object; 0 6 object",
        note="3 of 7 rows do not count",
    ),
    Case(
        "no mark counts",
        {"a": ONE, "b": "1,1,60,20,59.7,63.8,0.6082,-1,-1,-1\n1,2,60,20,59.7,63.8,0,-1,-1,-1\n"},
        f"{PERSON} | ",
        f"{OBJECT} | 0 1 object 60,20,119.7,83.8 ignored; 0 2 object 60,20,119.7,83.8 ignored",
        note="2 of 2 rows do not count",
    ),
    refused("a mark that is NaN", ONE + "2,1,10,10,20,20,nan,1,1\n", r"mark.*column 7.*not a number", 2),
    refused("a mark that is infinite", ONE + "2,1,10,10,20,20,inf,1,1\n", r"mark.*column 7.*not a number", 2),
    refused("a mark that is text", ONE + "2,1,10,10,20,20,yes,1,1\n", "'yes' is not a number", 2),
    refused("a fractional class", ONE + "2,1,10,10,20,20,1,1.5,1\n", "class.*not a whole number", 2),
    refused(
        "a fractional class in a row with mark 0", ONE + "2,1,10,10,20,20,0,1.5,1\n", "class.*not a whole number", 2
    ),
    refused("a class that is NaN", ONE + "2,1,10,10,20,20,1,nan,1\n", "class.*not a whole number", 2),
    Case("class −1 only", "1,1,10,10,20,20,1,-1,1\n", PERSON, OBJECT),
    Case(
        "class −1 beside class 1",
        ONE + "1,2,10,10,20,20,1,-1,1\n",
        f"{PERSON}; 0 2 person",
        f"{OBJECT}; 0 2 object",
    ),
    Case(
        "class −1 where one class is named",
        ONE + "1,2,10,10,20,20,1,-1,1\n",
        "0 1 cat; 0 2 cat",
        "0 1 cat; 0 2 cat",
        classes="[cat]",
    ),
    refused(
        "class −1 where two classes are named",
        ONE + "1,2,10,10,20,20,1,-1,1\n",
        "class",
        2,
        classes="[cat, dog]",
    ),
    Case(
        "no class column where one class is named",
        "1,1,10,10,20,20\n",
        "0 1 cat",
        "0 1 cat",
        classes="{3: cat}",
    ),
    refused(
        "no class column where two classes are named",
        "1,1,10,10,20,20\n",
        "class",
        1,
        classes="[cat, dog]",
    ),
    Case("one class that is not 1", "1,1,10,10,20,20,1,3,1\n", "0 1 class 3", OBJECT, note=NAME_THEM),
    Case(
        "several classes: those of rows that count",
        ONE + "1,2,10,10,20,20,1,3,1\n1,3,10,10,20,20,0,5,1\n",
        "0 1 class 1; 0 2 class 3",
        "0 1 class 1; 0 2 class 3; 0 3 class 1 ignored",
        note=NAME_THEM,
    ),
    Case(
        "classes of all sequences",
        {"a": ONE, "b": "1,1,10,10,20,20,1,3,1\n"},
        "0 1 class 1 | 0 1 class 3",
        "0 1 class 1 | 0 1 class 3",
        note=NAME_THEM,
    ),
    Case(
        "named as a list",
        ONE + "1,2,10,10,20,20,1,2,1\n",
        "0 1 cat; 0 2 dog",
        "0 1 cat; 0 2 dog",
        classes="[cat, dog]",
    ),
    refused(
        "another number than those named as a list",
        ONE + "1,2,10,10,20,20,1,2,1\n",
        "class",
        2,
        classes="[cat]",
    ),
    Case(
        "another number than those named as a list, mark 0",
        ONE + "1,2,10,10,20,20,0,77,1\n",
        "0 1 cat",
        "0 1 cat; 0 2 cat ignored",
        classes="[cat]",
    ),
    Case(
        "another number than those named as a mapping",
        ONE + "1,2,10,10,20,20,1,2,1\n",
        "0 1 cat",
        "0 1 cat; 0 2 cat ignored",
        classes="{1: cat}",
    ),
    Case(
        "two numbers of one name",
        ONE + "1,2,10,10,20,20,1,2,1\n1,3,10,10,20,20,1,4,1\n",
        "0 1 pet; 0 2 pet; 0 3 horse",
        "0 1 pet; 0 2 pet; 0 3 horse",
        classes="{2: pet, 1: pet, 4: horse}",
    ),
    Case(
        "MOT17: pedestrians that count, distractors",
        ONE + "1,2,10,10,20,20,0,1,1\n1,3,10,10,20,20,1,3,1\n1,4,10,10,20,20,0,12,1\n1,5,10,10,20,20,1,6,1\n",
        PERSON,
        "0 1 pedestrian; 0 2 pedestrian ignored; 0 3 pedestrian ignored; "
        "0 4 pedestrian ignored distractor; 0 5 pedestrian ignored",
        sequence="MOT17-02-SDP",
    ),
    refused(
        "MOT17: a class that it does not have",
        ONE + "1,2,10,10,20,20,1,14,1\n",
        "class",
        2,
        sequence="MOT17-02-SDP",
    ),
    Case(
        "MOT17: training truncates to whole pixels",
        "1,1,-3.7,10.9,20.8,30.2,1,1,1\n",
        "0 1 person -3,10,17,40",
        "0 1 pedestrian -3.7,10.9,17.1,41.1",
        sequence="MOT17-02-SDP",
    ),
    Case(
        "MOT16: boxes as written",
        "1,1,-3.7,10.9,20.8,30.2,1,1,1\n",
        "0 1 person -3.7,10.9,17.1,41.1",
        "0 1 pedestrian -3.7,10.9,17.1,41.1",
        sequence="MOT16-02",
    ),
    refused(
        "MOT16: a class that it does not have",
        ONE + "1,2,10,10,20,20,1,14,1\n",
        "class",
        2,
        sequence="MOT16-02",
    ),
    Case(
        "MOT20: pedestrians only, its own distractors",
        ONE + "1,2,10,10,20,20,1,6,1\n1,3,10,10,20,20,0,7,1\n1,4,10,10,20,20,1,3,1\n",
        PERSON,
        "0 1 pedestrian; 0 2 pedestrian ignored distractor; 0 3 pedestrian ignored distractor; 0 4 pedestrian ignored",
        sequence="MOT20-01",
    ),
]

IDS_AND_FRAMES = [
    Case("id 0", "1,0" + ONE[3:], "0 0 person", "0 0 object"),
    refused("a negative id", ONE + "2,-1" + ONE[3:], "id", 2),
    Case(
        "negative ids in rows with mark 0",
        ONE + "1,-1,10,10,20,20,0,1,1\n1,-1,10,10,20,20,0,1,1\n1,-7,10,10,20,20,0,1,1\n",
        PERSON,
        f"{OBJECT}; 0 -1 object ignored; 0 -1 object ignored; 0 -7 object ignored",
    ),
    refused("a fractional id", ONE + "2,1.5" + ONE[3:], "1.5 is not", 2),
    refused("an id of 2**53", ONE + f"2,{2**53}" + ONE[3:], r"(id|9.*) is not", 2),
    refused("an id that is NaN", ONE + "2,nan" + ONE[3:], "nan is not", 2),
    refused("an id twice in a frame", ONE + "2" + ONE[1:] + ONE, "id 1 ", 3),
    refused(
        "an id twice in a frame, both with mark 0",
        ONE + "1,2,10,10,20,20,0,1,1\n1,2,10,10,20,20,0,1,1\n",
        "id 2 ",
        3,
    ),
    refused(
        "an id twice in a frame, the first with mark 0",
        "1,1,10,10,20,20,0,1,1\n" + ONE,
        "id 1 ",
        2,
    ),
    refused(
        "an id twice in a frame, one of a class that is left out",
        ONE + "1,1,10,10,20,20,1,2,1\n",
        "id 1 ",
        2,
        classes="{1: cat}",
    ),
    Case("frames from 0", "0" + ONE[1:] + ONE, TWO_PERSONS, TWO_OBJECTS, note="from 0 and images from 1"),
    Case(
        "frames from 0 in another sequence",
        {"a": ONE, "b": "0" + ONE[1:]},
        "1 1 person | 0 1 person",
        "1 1 object | 0 1 object",
        note="from 0 and images from 1",
    ),
    refused("a fractional frame", ONE + "1.5" + ONE[1:], "1.5 is not", 2),
    refused("a frame that is NaN", ONE + "nan" + ONE[1:], "nan is not", 2),
    refused(
        "a negative frame",
        ONE + "-1" + ONE[1:],
        "frame",
        2,
    ),
    Case(
        "a frame beyond the images",
        ONE + "9" + ONE[1:],
        PERSON,
        Refused("frame 9 is beyond", 2),
        note="frames without an image .frames 9.",
    ),
]

NO_AREA, OUTSIDE = "no width or no height", "outside the image"
BOXES = [
    refused("a box that is NaN", ONE + "2,1,10,nan,20,20,1,1,1\n", "(?i)nan", 2),
    refused("a box that is infinite", ONE + "2,1,10,10,inf,20,1,1,1\n", "inf", 2),
    refused(
        "a box that is NaN, mark 0",
        ONE + "2,1,10,nan,20,20,0,1,1\n",
        "(?i)nan",
        2,
    ),
    refused("a box of 1e9 pixels", ONE + "2,1,10,10,1e9,20,1,1,1\n", r"1e\+09|coordinate", 2),
    refused("a box at −1e9", ONE + "2,1,-1e9,10,20,20,1,1,1\n", r"1e\+09|coordinate", 2),
    Case(
        "a box of 2e7 pixels",
        "1,1,10,10,2e7,20,1,1,1\n",
        "0 1 person 10,10,2e+07,30",
        "0 1 object 10,10,20000010,30",
    ),
    Case(
        "a box without width",
        ONE + "1,2,10,10,0,20,1,1,1\n",
        PERSON,
        f"{OBJECT}; 0 2 object 10,10,10,30",
        note=f":2: .*{NO_AREA}",
    ),
    Case(
        "a box of negative height",
        ONE + "1,2,10,10,20,-3,1,1,1\n",
        PERSON,
        f"{OBJECT}; 0 2 object 10,10,30,7",
        note=f":2: .*{NO_AREA}",
    ),
    Case(
        "a box outside of the image",
        ONE + "1,2,64,10,20,20,1,1,1\n",
        PERSON,
        f"{OBJECT}; 0 2 object 64,10,84,30",
        note=f":2: .*{OUTSIDE}",
    ),
    Case(
        "a box partly outside the image",
        "1,1,-5,40,20,20,1,1,1\n",
        "0 1 person -5,40,15,60",
        "0 1 object -5,40,15,60",
    ),
    Case(
        "more digits than float32 has",
        "1,1,10.123456789,10,20,20,1,1,1\n",
        "0 1 person 10.1235,10,30.1235,30",
        "0 1 object 10.123456789,10,30.123456789,30",
    ),
]


# BDD100K: Scalabel JSON. Frame k of a list has the image k.jpg, and label k of a frame the id k, so that a place can be
# checked however it is written.


def frame(index: Any, *labels: Any, **changes: Any) -> dict[str, Any]:
    """Return a frame; None as a change removes a key."""
    entry = {"name": f"{index}.jpg", "videoName": CLIP, "frameIndex": index, "labels": list(labels)} | changes
    return {key: value for key, value in entry.items() if value is not None}


def label(track: Any = "0", category: Any = "car", *, box: Any = USUAL_BOX, attributes: Any = None) -> dict[str, Any]:
    """Return a label; None removes a key."""
    if isinstance(box, tuple):
        box = {key: value for key, value in zip(("x1", "y1", "x2", "y2"), box, strict=True) if value is not None}
    entry = {"id": track, "category": category, "box2d": box, "attributes": attributes}
    return {key: value for key, value in entry.items() if value is not None}


CAR, TWO_CARS = "0 a car", "0 a car; 1 a car"
FRAME_1 = r"frame 1\b"

BDD100K = [
    Case("bdd: a list of frames", [frame(0, label()), frame(1, label())], TWO_CARS, TWO_CARS),
    Case("bdd: frames of an object", {"frames": [frame(0, label()), frame(1, label())]}, TWO_CARS, TWO_CARS),
    Case(
        "bdd: crowd",
        [frame(0, label(), label("1", attributes={"crowd": True}))],
        CAR,
        f"{CAR}; 0 b car region",
    ),
    Case(
        "bdd: Crowd",
        [frame(0, label(), label("1", attributes={"Crowd": True}))],
        CAR,
        f"{CAR}; 0 b car region",
    ),
    Case(
        "bdd: ignored",
        [frame(0, label(), label("1", attributes={"ignored": True}))],
        CAR,
        f"{CAR}; 0 b car region",
    ),
    Case(
        "bdd: categories that are not evaluated",
        [frame(0, label(), label("1", "other person"), label("2", "other vehicle"), label("3", "trailer"))],
        CAR,
        f"{CAR}; 0 b - region; 0 c - region; 0 d - region",
    ),
    Case(
        "bdd: old names of categories",
        [frame(0, *(label(str(k), name) for k, name in enumerate(("person", "bike", "motor", "van", "caravan"))))],
        "0 a pedestrian; 0 b bicycle; 0 c motorcycle; 0 d car; 0 e car",
        "0 a pedestrian; 0 b bicycle; 0 c motorcycle; 0 d car; 0 e car",
    ),
    refused("bdd: an unknown category", [frame(0), frame(1, label(category="tram"))], "'tram'", FRAME_1 + ".*label 0"),
    refused("bdd: no category", [frame(0), frame(1, label(category=None))], "category", FRAME_1 + ".*label 0"),
    refused("bdd: no id", [frame(0), frame(1, label(None))], r"\bid\b", FRAME_1),
    refused(
        "bdd: an id that is a decimal",
        [frame(0), frame(1, label(1.5))],
        r"\bid\b",
        FRAME_1,
    ),
    refused(
        "bdd: an id that is a bool",
        [frame(0), frame(1, label(True))],
        r"\bid\b",
        FRAME_1,
    ),
    Case("bdd: ids that are numbers", [frame(0, label(7)), frame(1, label("7"))], TWO_CARS, TWO_CARS),
    refused("bdd: no box2d", [frame(0), frame(1, label(box=None))], "box2d", FRAME_1 + ".*label 0"),
    refused(
        "bdd: no box2d of a crowd",
        [frame(0, label()), frame(1, label(box=None, attributes={"crowd": True}))],
        "box2d",
        FRAME_1 + ".*label 0",
    ),
    refused(
        "bdd: no id of a category that is not evaluated",
        [frame(0, label()), frame(1, label(None, "trailer"))],
        r"\bid\b",
        FRAME_1,
    ),
    refused("bdd: a corner missing", [frame(0), frame(1, label(box=(1, None, 9, 9)))], "y1", FRAME_1 + ".*label 0"),
    refused("bdd: a corner that is text", [frame(0), frame(1, label(box=(1, "2", 9, 9)))], "y1", FRAME_1 + ".*label 0"),
    refused("bdd: a corner that is a bool", [frame(0), frame(1, label(box=(1, True, 9, 9)))], "y1", FRAME_1),
    refused("bdd: a corner that is NaN", [frame(0), frame(1, label(box=(1, np.nan, 9, 9)))], "(?i)nan", FRAME_1),
    Case(
        "bdd: a corner on the wrong side",
        [frame(0, label(), label("1", box=(30, 10, 10, 30)))],
        CAR,
        f"{CAR}; 0 b car 30,10,10,30",
        note=NO_AREA,
    ),
    refused("bdd: an id twice in a frame", [frame(0), frame(1, label("x"), label("x"))], r"\bid\b", FRAME_1),
    Case(
        "bdd: an id twice in a frame, once as a crowd",
        [frame(0, label(), label(attributes={"crowd": True}))],
        CAR,
        f"{CAR}; 0 a car region",
    ),
    refused(
        "bdd: no frameIndex",
        [frame(0, label()), frame(1, label(), frameIndex=None)],
        "frameIndex",
        FRAME_1,
    ),
    refused(
        "bdd: a negative frameIndex",
        [frame(0, label()), frame(1, label(), frameIndex=-1)],
        "frameIndex",
        FRAME_1,
    ),
    Case(
        "bdd: frameIndex as 1.0",
        [frame(0, label(7), frameIndex=0.0), frame(1, label("7"), frameIndex=1.0)],
        TWO_CARS,
        TWO_CARS,
    ),
    refused("bdd: a frameIndex that is a decimal", [frame(0), frame(1, label(), frameIndex=1.5)], "1.5", FRAME_1),
    refused("bdd: a frameIndex that is text", [frame(0), frame(1, label(), frameIndex="1")], "frameIndex", FRAME_1),
    refused(
        "bdd: a frameIndex that is a bool",
        [frame(0, label()), frame(1, label(), frameIndex=True)],
        "frameIndex",
        FRAME_1,
    ),
    refused(
        "bdd: a frameIndex twice",
        [frame(0, label()), frame(1, label(), frameIndex=0)],
        "frameIndex",
        FRAME_1,
    ),
    Case(
        "bdd: no videoName",
        [frame(0, label(), videoName=None), frame(1, label(), videoName=None)],
        TWO_CARS,
        TWO_CARS,
    ),
    Case(
        "bdd: no name",
        [frame(0, label()), frame(1, label(), name=None)],
        Refused('"name"', FRAME_1),
        TWO_CARS,
    ),
    Case(
        "bdd: frames in any order", [frame(1, label("b")), frame(0, label("a"))], "0 a car; 1 b car", "0 a car; 1 b car"
    ),
    Case(
        "bdd: no labels",
        [frame(0, labels=None), {**frame(1), "labels": None}, frame(2, label())],
        "2 a car",
        "2 a car",
    ),
]


# COCO-style video JSON.


def coco(*annotations: dict[str, Any], order: tuple[int, ...] = (0, 1, 2)) -> dict[str, Any]:
    """Return a video of three images, listed in this order; image 10 + k is frame k."""
    images = [
        {"id": 10 + k, "video_id": 1, "frame_id": k, "file_name": f"{k}.jpg", "height": HEIGHT, "width": WIDTH}
        for k in order
    ]
    return {
        "videos": [{"id": 1, "name": CLIP}],
        "images": images,
        "annotations": [{"id": k, **annotation} for k, annotation in enumerate(annotations)],
        "categories": [{"id": 2, "name": "car"}, {"id": 5, "name": "bus"}],
    }


def annotation(**changes: Any) -> dict[str, Any]:
    """Return an annotation; None as a change removes a key."""
    entry = {"image_id": 10, "track_id": 1, "category_id": 2, "bbox": [10, 10, 20, 20]} | changes
    return {key: value for key, value in entry.items() if value is not None}


COCO_VIDEO = [
    Case(
        "coco: two classes",
        coco(annotation(), annotation(track_id=2, category_id=5), annotation(image_id=11)),
        "0 a car; 0 b bus; 1 a car",
        "0 a car; 0 b bus; 1 a car",
    ),
    Case(
        "coco: iscrowd",
        coco(annotation(), annotation(track_id=2, iscrowd=1)),
        CAR,
        f"{CAR}; 0 b car region",
    ),
    Case(
        "coco: iscrowd as text",
        coco(annotation(iscrowd="0"), annotation(track_id=2, iscrowd="1")),
        CAR,
        f"{CAR}; 0 b car region",
    ),
    Case(
        "coco: ignore, which pycocotools does not use",
        coco(annotation(ignore=0), annotation(track_id=2, ignore=1), annotation(track_id=3, ignore=1, iscrowd=1)),
        f"{CAR}; 0 b car",
        f"{CAR}; 0 b car; 0 c car region",
        note="1 annotations have 'ignore'",
    ),
    Case(
        "coco: iscrowd without a track",
        coco(annotation(), annotation(track_id=None, iscrowd=1)),
        CAR,
        f"{CAR}; 0 b car region",
    ),
    Case(
        "coco: more digits than float32 has",
        coco(annotation(bbox=[10.123456789, 10, 20, 20])),
        "0 a car 10.1235,10,30.1235,30",
        "0 a car 10.123456789,10,30.123456789,30",
    ),
    Case(
        "coco: a box without width",
        coco(annotation(), annotation(track_id=2, bbox=[10, 10, 0, 20])),
        CAR,
        f"{CAR}; 0 b car 10,10,10,30",
        note=NO_AREA,
    ),
    Case(
        "coco: a box outside of the image",
        coco(annotation(), annotation(track_id=2, bbox=[64, 10, 20, 20])),
        CAR,
        f"{CAR}; 0 b car 64,10,84,30",
        note=OUTSIDE,
    ),
    refused("coco: a track twice in a frame", coco(annotation(), annotation()), "repeated", r"annotations\[1\]"),
    refused("coco: no track", coco(annotation(), annotation(track_id=None)), "track_id", r"annotations\[1\]"),
    Case("coco: instance_id", coco(annotation(track_id=None, instance_id=4)), CAR, CAR),
    Case(
        "coco: tracks that are text",
        coco(annotation(track_id="x"), annotation(track_id="y"), annotation(track_id="x", image_id=11)),
        "0 a car; 0 b car; 1 a car",
        "0 a car; 0 b car; 1 a car",
    ),
    refused(
        "coco: a bbox of three", coco(annotation(), annotation(track_id=2, bbox=[1, 2, 3])), "bbox", r"annotations\[1\]"
    ),
    refused(
        "coco: a bbox that is NaN",
        coco(annotation(), annotation(track_id=2, bbox=[1, 2, np.nan, 3])),
        "(?i)nan",
        r"annotations\[1\]",
    ),
    refused(
        "coco: an unknown category", coco(annotation(), annotation(category_id=3)), "category_id 3", r"annotations\[1\]"
    ),
    refused("coco: an unknown image", coco(annotation(), annotation(image_id=3)), "image_id 3", r"annotations\[1\]"),
    Case(
        "coco: images in any order",
        coco(annotation(image_id=12), annotation(track_id=2), order=(2, 0, 1)),
        "0 a car; 2 b car",
        "0 a car; 2 b car",
    ),
]

CASES = [*LAYOUT, *MARKS_AND_CLASSES, *IDS_AND_FRAMES, *BOXES, *BDD100K, *COCO_VIDEO]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``from-0`` and ``from-1`` with the images of a video."""
    folder = tmp_path_factory.mktemp("images")
    image = folder / "image.jpg"
    assert cv2.imwrite(str(image), np.full((HEIGHT, WIDTH, 3), 127, np.uint8))
    for first, name in ((0, "{}.jpg"), (1, "{:06d}.jpg")):
        (folder / f"from-{first}").mkdir()
        for number in range(first, first + LENGTH):
            (folder / f"from-{first}" / name.format(number)).hardlink_to(image)
    return folder


def write(case: Case, root: Path, images: Path) -> None:
    """Write the data set of a case: its split ``train``, with images."""
    content = case.content
    files: dict[Path, str | bytes] = {}
    links: dict[Path, Path] = {}
    if case.classes:
        files[root / "dataset.yaml"] = f"classes: {case.classes}\n"
    if case.format == "mot":
        for name, text in (content if isinstance(content, dict) else {case.sequence: content}).items():
            files[root / "train" / name / "gt" / "gt.txt"] = text
            links[root / "train" / name / "img1"] = images / "from-1"
    elif case.format == "coco-video":
        files[root / "annotations" / "train.json"] = json.dumps(content)
        links[root / "images" / "train"] = images / "from-0"
    else:
        files[root / "labels" / "box_track_20" / "train" / f"{CLIP}.json"] = json.dumps(content)
        links[root / "images" / "track" / "train" / CLIP] = images / "from-0"
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for link, folder in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_trainable(case: Case, images: Path, tmp_path: Path) -> None:
    write(case, tmp_path, images)
    expected, note = case.trainable, case.note
    if isinstance(expected, Refused):
        with pytest.raises(UserError) as error:
            trainable(tmp_path)
        assert expected.matches(str(error.value)), error.value
        return
    sequences, notes = trainable(tmp_path)
    assert shown(sequences, letters=case.format != "mot", digits=6) == expected
    assert len(notes) == (note is not None), notes
    assert note is None or re.search(note, notes[0]), notes


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_scored(case: Case, images: Path, tmp_path: Path) -> None:
    write(case, tmp_path, images)
    expected = case.scored
    if isinstance(expected, Refused):
        with pytest.raises(UserError) as error:
            scored(tmp_path)
        assert expected.matches(str(error.value)), error.value
        return
    assert shown(scored(tmp_path), letters=case.format != "mot", digits=12) == expected
