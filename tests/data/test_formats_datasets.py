"""From a path to sequences: which layout is recognised, which split is meant, which half, which sequences."""

from pathlib import Path

import numpy as np
import pytest

from memotr.config import SplitConfig
from memotr.data.datasets import DatasetSpec, half_of, load_split, spec_at
from memotr.data.formats import FORMATS
from memotr.data.layouts import recognise
from memotr.data.problems import Problems
from memotr.data.sequences import FrameBoxes, Sequence
from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth
from tests.data.layouts import (
    Scene,
    found_in,
    read_dataset,
    write_bdd100k,
    write_coco_video,
    write_crowdhuman,
    write_dancetrack,
    write_generated,
    write_mot17,
    write_motsynth,
    write_sequence,
    write_sportsmot,
    write_text,
)
from tests.data.real_data import real


def test_settings_take_the_formats_that_are_read(tmp_path: Path) -> None:
    names = ["auto", *(reader.name for reader in FORMATS)]
    assert len(set(names)) == len(names)
    assert [SplitConfig(path="a", format=name).format for name in names] == names
    with pytest.raises(UserError, match=f"'voc' is not a data set format; choose one of {', '.join(names)}"):
        load_split(DatasetSpec(tmp_path, format="voc"))


def test_hidden_files_are_not_read(tmp_path: Path) -> None:
    """MacOS writes them beside each file on foreign file systems, and into archives."""
    write_generated(tmp_path)
    write_coco_video(tmp_path / "own")
    write_text(tmp_path / "flat" / "a.txt", ["1,1,0,0,9,9,1,1,1"])
    formats = {"MOT17": "generated", "CrowdHuman": "generated", "BDD100K": "bdd100k", "own": "coco-video"}

    def read() -> list[object]:
        specs = [DatasetSpec(tmp_path / name, format=format) for name, format in formats.items()]
        counts = [[(s.name, sum(map(len, s.boxes or ()))) for s in load_split(spec)] for spec in specs]
        splits = [list(recognise(tmp_path / name, format).splits) for name, format in formats.items()]
        scored = [load_ground_truth(tmp_path / name, split="train").names for name in ("BDD100K", "own")]
        alone = tmp_path / "BDD100K" / "labels" / "box_track_20" / "train"
        return [counts, splits, scored, load_ground_truth(alone).names, load_ground_truth(tmp_path / "flat").names]

    before = read()
    for file in [file for file in tmp_path.rglob("*") if file.is_file()]:
        file.with_name(f"._{file.name}").write_bytes(b"\x00\x05\x16\x07\x00\xff")
    assert read() == before


def test_every_layout_is_recognised(tmp_path: Path) -> None:
    write_dancetrack(tmp_path)
    write_sportsmot(tmp_path)
    write_mot17(tmp_path)
    write_motsynth(tmp_path)
    write_crowdhuman(tmp_path)
    write_bdd100k(tmp_path)
    write_coco_video(tmp_path / "own")
    formats = {folder.name: (recognise(folder).format, *recognise(folder).splits) for folder in tmp_path.iterdir()}
    assert formats == {
        "DanceTrack": ("mot", "test", "train", "val"),
        "SportsMOT": ("mot", "test", "train", "val"),
        "MOT17": ("mot17", "test", "train"),
        "MOTSynth": ("motsynth", "all"),
        "CrowdHuman": ("crowdhuman", "train", "val"),
        "BDD100K": ("bdd100k", "train", "val"),
        "own": ("coco-video", "train", "val"),
    }
    with pytest.raises(UserError, match=r"contains data sets .*\(BDD100K, CrowdHuman, DanceTrack, .*; choose one"):
        recognise(tmp_path)
    assert recognise(tmp_path / "MOT17", "mot").format == "mot"
    with pytest.raises(UserError, match=r"MOT17: is not in the format bdd100k, but in mot17$"):
        recognise(tmp_path / "MOT17", "bdd100k")


def test_mot_sequences_hide_the_json_of_other_trackers(tmp_path: Path) -> None:
    write_coco_video(tmp_path)
    write_sequence(tmp_path / "train" / "a", Scene(length=2))
    assert recognise(tmp_path).format == "mot"
    assert recognise(tmp_path, "coco-video").format == "coco-video"


def test_nothing_to_recognise(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file or folder"):
        recognise(tmp_path / "missing")
    with pytest.raises(
        UserError, match=r"no data set recognised; known layouts are .* <split>/<sequence>/img1 with gt/gt.txt"
    ):
        recognise(tmp_path)


def test_a_path_may_end_in_a_split(tmp_path: Path) -> None:
    write_dancetrack(tmp_path)
    write_mot17(tmp_path)
    root = tmp_path / "DanceTrack"
    assert spec_at(root) == DatasetSpec(root, None)
    assert spec_at(root / "val") == DatasetSpec(root, "val")  # and so with its seqmap
    assert spec_at(root / "val" / "dancetrack0001") == DatasetSpec(root / "val" / "dancetrack0001", None)
    assert spec_at(tmp_path / "MOT17" / "val_half") == DatasetSpec(tmp_path / "MOT17", "val_half")
    assert spec_at(tmp_path / "MOT17" / "train") == DatasetSpec(tmp_path / "MOT17", "train")
    (sequence,) = load_split(spec_at(root / "val" / "dancetrack0001"))
    assert sequence.name == "dancetrack0001"
    with pytest.raises(
        UserError, match=r"DanceTrack/vla: no such folder, and no such split of the folder above: .*no split 'vla'"
    ):
        spec_at(root / "vla")


def test_a_sequence_from_within_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sequence(tmp_path / "a", Scene(length=2))
    monkeypatch.chdir(tmp_path / "a")
    (sequence,) = load_split(spec_at(Path()))
    assert sequence.name == "a"


def test_undivided_folders(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_sequence(tmp_path / name, Scene(length=5))
    for split in (None, "train", "all"):
        assert [s.name for s in load_split(DatasetSpec(tmp_path, split))] == ["a", "b", "c"]
    assert [len(s) for s in load_split(DatasetSpec(tmp_path, "train_half"))] == [3, 3, 3]
    assert [len(s) for s in load_split(DatasetSpec(tmp_path, "val_half"))] == [2, 2, 2]
    with pytest.raises(UserError, match=r"no split 'val'; use one of all, or train_half or val_half of train"):
        load_split(DatasetSpec(tmp_path, "val"))
    write_text(tmp_path / "val_seqmap.txt", ["name", "c"])
    assert [s.name for s in load_split(DatasetSpec(tmp_path, "val"))] == ["c"]


def test_seqmaps(tmp_path: Path) -> None:
    write_dancetrack(tmp_path, sequences=3)
    root = tmp_path / "DanceTrack"
    write_text(root / "train_seqmap.txt", ["name", "dancetrack0003", "", "dancetrack0001,whatever"])
    problems = Problems()
    sequences = load_split(DatasetSpec(root), problems=problems)
    assert [s.name for s in sequences] == ["dancetrack0001", "dancetrack0003"]
    assert "does not name 1 of the sequences" in str(problems.notes[0])
    write_text(root / "mine.txt", ["dancetrack0002"])
    assert [s.name for s in load_split(DatasetSpec(root, seqmap=root / "mine.txt"))] == ["dancetrack0002"]
    write_text(root / "mine.txt", ["name", "dancetrack0002", "dancetrack0009"])
    with pytest.raises(UserError, match=r"mine.txt:3: sequence dancetrack0009 is not in .*DanceTrack/train"):
        load_split(DatasetSpec(root, seqmap=root / "mine.txt"))
    with pytest.raises(UserError, match=r"cannot read .*none.txt"):
        load_split(DatasetSpec(root, seqmap=root / "none.txt"))


def test_seqmap_of_detector_copies(tmp_path: Path) -> None:
    write_mot17(tmp_path)
    root = tmp_path / "MOT17"
    write_text(root / "train_seqmap.txt", ["name", "MOT17-0001-DPM", "MOT17-0001-FRCNN", "MOT17-0002-DPM"])
    assert [s.name for s in load_split(DatasetSpec(root))] == ["MOT17-0001-FRCNN", "MOT17-0002-DPM"]


@pytest.mark.parametrize(("frames", "first", "second"), [(600, 301, 299), (837, 419, 418), (1, 1, 0), (2, 2, 0)])
def test_halves(frames: int, first: int, second: int) -> None:
    """The cut of the published half-validation ground truth: 299 frames of MOT17-02's 600, 418 of MOT17-05's 837."""
    boxes = tuple(FrameBoxes(np.array([k]), np.array([0]), np.ones((1, 4), np.float32)) for k in range(frames))
    files = tuple(Path(f"{k}.jpg") for k in range(1, frames + 1))
    whole = Sequence("s", files, boxes, ("person",), first_frame=1)
    train, val = half_of(whole, "train_half"), half_of(whole, "val_half")
    assert (len(train), len(val)) == (first, second)
    assert train.frames + val.frames == whole.frames
    assert train.boxes + val.boxes == whole.boxes
    assert (train.first_frame, val.first_frame) == (1, first + 1)


def test_halves_against_published_ground_truth() -> None:
    """Second halves that others made: seqLength of theirs, and of the whole sequences."""
    halves = real("mot17_val_deep_oc_sort") / "gt" / "MOT17-val"
    wholes = real("mot17_mpntrack") / "gt" / "mot_challenge" / "MOT17"
    compared = 0
    for folder in halves.iterdir():
        half = int((folder / "seqinfo.ini").read_text().split("seqLength=")[1].split()[0])
        whole = int((wholes / folder.name / "seqinfo.ini").read_text().split("seqLength=")[1].split()[0])
        sequence = Sequence(folder.name, tuple(Path(str(k)) for k in range(whole)), None, ("person",))
        assert len(half_of(sequence, "val_half")) == half
        compared += 1
    assert compared == 7


def test_halves_of_written_sequences(tmp_path: Path) -> None:
    scenes = write_mot17(tmp_path)["train"]
    for sequence in read_dataset(tmp_path / "MOT17", "val_half"):
        scene = scenes[sequence.name]
        cut = scene.length // 2 + 1
        assert found_in(sequence) == [scene.boxes(k) for k in range(cut, scene.length)]
        assert sequence.frames[0].name == f"{cut + 1:06d}.jpg"
        assert sequence.first_frame == cut + 1


def test_dataset_yaml(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sequence(tmp_path / "videos" / name, Scene(length=2))
    write_text(tmp_path / "dataset.yaml", ["splits: {train: videos, val: videos/b}", "seqmaps: {train: my.txt}"])
    write_text(tmp_path / "my.txt", ["a"])
    assert recognise(tmp_path / "dataset.yaml") == recognise(tmp_path)
    assert [s.name for s in load_split(DatasetSpec(tmp_path, "train"))] == ["a"]
    assert [s.name for s in load_split(DatasetSpec(tmp_path, "val"))] == ["b"]
    assert spec_at(tmp_path / "val") == DatasetSpec(tmp_path, "val")
    for text, message in (
        ("clases: [a]", "dataset.yaml: clases: .*; keys are format, classes, splits, seqmaps, images"),
        ("format: voc", "dataset.yaml: 'voc' is not a data set format; choose one of auto, "),
        ("classes: [a", "dataset.yaml, line 2: not valid YAML"),
        ("- a", "dataset.yaml: settings: "),
    ):
        write_text(tmp_path / "dataset.yaml", [text])
        with pytest.raises(UserError, match=message):
            load_split(DatasetSpec(tmp_path))


def test_choices_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    write_crowdhuman(tmp_path)
    with pytest.raises(UserError, match=r"the format crowdhuman does not support 'detector'"):
        load_split(DatasetSpec(tmp_path / "CrowdHuman", detector="SDP"))
    with pytest.raises(UserError, match=r"the format crowdhuman does not support 'classes'"):
        load_split(DatasetSpec(tmp_path / "CrowdHuman", classes=("head",)))
    write_text(tmp_path / "CrowdHuman" / "dataset.yaml", ["classes: [head]"])
    with pytest.raises(UserError, match=r"the format crowdhuman does not support 'classes'"):
        load_split(DatasetSpec(tmp_path / "CrowdHuman"))
