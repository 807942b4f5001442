"""COCO-style video JSON, with its several spellings."""

import json
import shutil
from pathlib import Path

import pytest

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.problems import Problems
from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate
from tests.data.layouts import expected_of, found_in, write_coco_video, write_json, write_text


def edit(root: Path, change, split: str = "train") -> Path:
    file = root / "annotations" / f"{split}.json"
    content = json.loads(file.read_text())
    write_json(file, change(content) or content)
    return file


@pytest.mark.parametrize("key", ["track_id", "instance_id"])
def test_as_written(tmp_path: Path, key: str) -> None:
    """Labels follow the order of category ids; crowds do not count; images come in the order of frame_id."""
    scenes = write_coco_video(tmp_path, track_key=key)
    for split in ("train", "val"):
        sequences = load_split(DatasetSpec(tmp_path, split))
        assert [sequence.name for sequence in sequences] == list(scenes[split])
        for sequence in sequences:
            scene = scenes[split][sequence.name]
            assert found_in(sequence) == expected_of(scene)
            assert sequence.classes == ("car", "bus")
            assert sequence.frames[-1] == tmp_path / "images" / split / sequence.name / f"img_{scene.length - 1}.jpg"
            assert (sequence.fps, sequence.size, sequence.first_frame) == (10, (96, 160), 0)


def test_names_with_folders_become_names_of_files(tmp_path: Path) -> None:
    write_coco_video(tmp_path)
    names = {1: "train/YFCC100M/v_1", 2: "train\\v_2"}
    edit(tmp_path, lambda content: [video.update(name=names[video["id"]]) for video in content["videos"]] and None)
    assert [s.name for s in load_split(DatasetSpec(tmp_path))] == ["train_YFCC100M_v_1", "train_v_2"]


def test_names_of_benchmarks_change_no_classes(tmp_path: Path) -> None:
    """Conversions of MOT17 keep its names, and number classes in their own way."""
    scenes = write_coco_video(tmp_path)
    edit(tmp_path, lambda content: content["videos"][0].update(name="MOT17-02-SDP"))
    sequence = load_split(DatasetSpec(tmp_path))[0]
    assert (sequence.classes, found_in(sequence)) == (("car", "bus"), expected_of(scenes["train"]["clip0001"]))
    truth = load_ground_truth(tmp_path, split="train")
    assert truth.classes == ("car", "bus")
    assert (~truth.sequences[0].objects.ignore).sum() == sum(map(len, sequence.boxes))


@pytest.mark.parametrize(
    ("said", "fps"),
    [*((bad, None) for bad in (0, -5, float("nan"), float("inf"), True, "30", 1e-5, 1e6)), (29.5, 29.5)],
)
def test_frame_rates(tmp_path: Path, said, fps: float | None) -> None:
    write_coco_video(tmp_path)
    edit(tmp_path, lambda content: content["videos"][0].update(fps=said))
    assert load_split(DatasetSpec(tmp_path))[0].fps == fps
    edit(tmp_path, lambda content: content["videos"][0].update(frame_rate=15))
    assert load_split(DatasetSpec(tmp_path))[0].fps == (fps or 15)


def test_a_json_by_itself(tmp_path: Path) -> None:
    scenes = write_coco_video(tmp_path)
    sequences = load_split(DatasetSpec(tmp_path / "annotations" / "val.json"))
    assert [sequence.name for sequence in sequences] == list(scenes["val"])


def test_names_of_files(tmp_path: Path) -> None:
    write_coco_video(tmp_path)
    (tmp_path / "annotations" / "val.json").rename(tmp_path / "annotations" / "instances_val2.json")
    (tmp_path / "annotations" / "train.json").rename(tmp_path / "annotations" / "instances_train.json")
    with pytest.raises(
        UserError,
        match=r"none of its 8 images exists .*clip0001/img_0.jpg, …\); copy them there, or, .*in dataset.yaml",
    ):
        load_split(DatasetSpec(tmp_path, "train"))
    write_text(tmp_path / "dataset.yaml", ["images: images/train"])
    assert len(load_split(DatasetSpec(tmp_path, "train"))) == 2
    settings = ["splits: {a: annotations/instances_train.json, b: annotations/instances_val2.json}"]
    write_text(tmp_path / "dataset.yaml", [*settings, "images: 'images/{split}'"])
    for name, split in (("a", "train"), ("b", "val")):
        (tmp_path / "images" / split).rename(tmp_path / "images" / name)
        assert len(load_split(DatasetSpec(tmp_path, name))) == 2


def text_ids(content) -> None:
    content["annotations"] = [
        entry | {"track_id": f"t{entry['track_id']}"} if "track_id" in entry else entry
        for entry in content["annotations"]
    ]


def test_text_ids_get_numbers(tmp_path: Path) -> None:
    scenes = write_coco_video(tmp_path)
    edit(tmp_path, text_ids)
    sequence = load_split(DatasetSpec(tmp_path))[0]
    first = scenes["train"]["clip0001"].boxes(0)
    assert sequence.boxes[0].ids.tolist() == list(range(len(first)))
    assert [box[1:] for box in found_in(sequence)[0]] == [box[1:] for box in first]


@pytest.mark.parametrize("written", [float, str])
def test_whole_numbers_however_they_are_written(tmp_path: Path, written: type) -> None:
    """As 1.0, which pandas makes of a column with gaps, or as "1": in some places, so that they stay the same ids."""
    scenes = write_coco_video(tmp_path)

    def rewrite(content):
        for key, name in (("videos", "id"), ("images", "frame_id"), ("annotations", "image_id"), ("categories", "id")):
            for entry in content[key]:
                entry[name] = written(entry[name])
        for entry in content["annotations"][::2]:
            entry.update(track_id=written(entry["track_id"])) if "track_id" in entry else None

    edit(tmp_path, rewrite)
    for sequence in load_split(DatasetSpec(tmp_path)):
        assert found_in(sequence) == expected_of(scenes["train"][sequence.name])


def test_ids_that_only_look_like_numbers(tmp_path: Path) -> None:
    write_coco_video(tmp_path)

    def rewrite(content):
        for entry in content["annotations"]:
            entry.update(track_id=("7", "07", "7.0", "7a")[entry["track_id"] - 1]) if "track_id" in entry else None

    edit(tmp_path, rewrite)
    for sequence in load_split(DatasetSpec(tmp_path)):
        assert sequence.boxes[0].ids.tolist() == list(range(len(sequence.boxes[0])))


def test_file_names_of_windows(tmp_path: Path) -> None:
    scenes = write_coco_video(tmp_path)
    edit(tmp_path, lambda c: [i.update(file_name=i["file_name"].replace("/", "\\")) for i in c["images"]] and None)
    sequence = load_split(DatasetSpec(tmp_path))[0]
    assert found_in(sequence) == expected_of(scenes["train"]["clip0001"])
    assert sequence.frames[0] == tmp_path / "images" / "train" / "clip0001" / "img_0.jpg"


def test_scores_need_no_images(tmp_path: Path) -> None:
    scenes = write_coco_video(tmp_path)["val"]
    shutil.rmtree(tmp_path / "images")
    for name, scene in scenes.items():
        rows = [
            f"{frame + 1},{i},{x},{y},{w},{h},1,{label + 1},-1,-1"
            for frame in range(scene.length)
            for i, label, x, y, w, h in scene.boxes(frame)
        ]
        write_text(tmp_path / "results" / f"{name}.txt", rows[:-1])  # one is missed
    for path in (tmp_path, tmp_path / "annotations", tmp_path / "annotations" / "val.json"):
        split = None if path.suffix else "val"
        found = evaluate(load_ground_truth(path, split=split), tmp_path / "results").pooled.combined
        boxes = sum(len(scene.boxes(frame)) for scene in scenes.values() for frame in range(scene.length))
        assert (found["CLR_TP"], found["CLR_FN"], found["CLR_FP"]) == (boxes - 2, 2, 0)


@pytest.mark.parametrize(("step", "first", "noted"), [(1, 0, False), (1, 1, False), (5, 0, True), (1, 60, True)])
def test_results_count_the_frames(tmp_path: Path, step: int, first: int, noted: bool) -> None:
    """Whatever the numbers of the annotations are; a note says where they differ by more than their beginning."""
    write_coco_video(tmp_path, videos=1)
    edit(tmp_path, lambda c: [i.update(frame_id=first + step * i["frame_id"]) for i in c["images"]] and None, "val")
    truth = load_ground_truth(tmp_path, split="val")
    assert list(truth.sequences[0].frames) == list(range(1, 9))
    numbers = f"numbered {first} to {first + 7 * step} in this file, and 1 to 8 in results, in the same order"
    assert [note.rpartition("frames are ")[2] for note in truth.notes] == [numbers] * noted


def test_ids_beyond_64_bits(tmp_path: Path) -> None:
    scenes = write_coco_video(tmp_path)
    edit(tmp_path, lambda content: first(content).update(track_id=10**30))
    sequence = load_split(DatasetSpec(tmp_path))[0]
    assert len(sequence.boxes[0]) == len(scenes["train"]["clip0001"].boxes(0))
    assert sequence.boxes[0].ids.tolist()[0] == 0


def test_classes_by_name(tmp_path: Path) -> None:
    write_coco_video(tmp_path)
    sequence = load_split(DatasetSpec(tmp_path, classes=("bus",)))[0]
    assert sequence.classes == ("bus",)
    assert {label for frame in found_in(sequence) for _, label, *_ in frame} == {0}
    sequence = load_split(DatasetSpec(tmp_path, classes={"bus": "vehicle", "car": "vehicle"}))[0]
    assert sequence.classes == ("vehicle",)


def test_test_split_without_annotations(tmp_path: Path) -> None:
    write_coco_video(tmp_path)
    edit(tmp_path, lambda content: {k: v for k, v in content.items() if k != "annotations"}, "val")
    sequences = load_split(DatasetSpec(tmp_path, "val"), ground_truth=False)
    assert [sequence.boxes for sequence in sequences] == [None, None]


def first(content):
    return content["annotations"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("videos"), "has no list 'videos'; a COCO file of single images has no tracks"),
        (lambda c: c.update(images={}), "has no list 'images'"),
        (lambda c: {"a": [c]}, "has no list 'videos', 'images', 'categories'; a COCO file of single images"),
        (lambda c: [c], r"is a list of frames \(Scalabel\); BDD100K labels belong at"),
        (lambda c: {"frames": [{"name": "1.jpg"}]}, r"is a list of frames \(Scalabel\); BDD100K labels belong at"),
        (lambda c: c["categories"][0].pop("id"), r'categories\[0\]: has no "id"'),
        (lambda c: c["images"][0].update(video_id=7), r"image \d+: video_id 7 is not in videos"),
        (lambda c: c["images"][1].update(id=c["images"][0]["id"]), r"images\[1\]: the id 17 is repeated in images"),
        (lambda c: c["videos"][1].update(id=1), r"videos\[1\]: the id 1 is repeated in videos"),
        (lambda c: c["videos"][1].update(name="clip0001"), "video 2: another video is also named 'clip0001'"),
        (
            lambda c: c["videos"][1].update(name="a/../b"),
            "video 2: the video name '..' is not a file name",
        ),
        (lambda c: c["videos"][1].update(name=""), "video 2: the video name '' is not a file name: rename it"),
        (lambda c: c["images"][0].pop("frame_id"), r"image \d+: needs file_name \(text\) and frame_id"),
        (lambda c: c["images"][0].update(frame_id=0), r"image \d+: another image is also frame 0 of video 2"),
        (lambda c: first(c).update(image_id=999), r"annotations\[0\]: image_id 999 is not in images"),
        (lambda c: first(c).update(category_id=5), r"annotations\[0\]: category_id 5 is not in categories"),
        (lambda c: first(c).pop("track_id"), r"annotations\[0\]: has neither track_id nor instance_id"),
        (lambda c: first(c).update(bbox=[1, 2, 3]), r"annotations\[0\]: bbox is not four numbers"),
        (lambda c: first(c).update(bbox=[1, 2, 3, 10**400]), r"annotations\[0\]: bbox is not four numbers"),
        (lambda c: first(c).update(bbox=[1, float("nan"), 3, 4]), r"annotations\[0\]: a coordinate is NaN"),
        (lambda c: first(c).update(track_id=-4), r"annotations\[0\]: id -4 is negative: is this a file of detections"),
        (lambda c: c["annotations"].append(first(c)), r"annotations\[82\]: id 1 is repeated in frame 0"),
        (
            lambda c: c["annotations"].append(first(c)) or text_ids(c),
            r"annotations\[82\]: id 't1' is repeated in frame 0",
        ),
        (
            lambda c: c["images"][1].update(file_name=c["images"][0]["file_name"]),
            "video clip0002: two frames have the image 'clip0002/img_8.jpg'",
        ),
    ],
)
def test_errors_with_their_place(tmp_path: Path, change, message: str) -> None:
    write_coco_video(tmp_path)

    def edited(content):
        changed = change(content)
        return changed if changed == [content] or isinstance(changed, dict) else None

    file = edit(tmp_path, edited)
    with pytest.raises(UserError, match=f"{file}: .*{message}"):
        load_split(DatasetSpec(tmp_path))


def test_missing_images(tmp_path: Path) -> None:
    scenes = write_coco_video(tmp_path)
    folder = tmp_path / "images" / "train" / "clip0002"
    (folder / "img_3.jpg").unlink()
    problems = Problems()
    sequence = load_split(DatasetSpec(tmp_path), problems=problems)[1]
    scene = scenes["train"]["clip0002"]
    assert found_in(sequence) == [scene.boxes(k) for k in range(scene.length) if k != 3]
    assert str(problems.notes[0]).endswith(
        f"train.json: video clip0002: 1 of 9 images are not in {tmp_path / 'images' / 'train'}: left out"
    )
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"video clip0002: none of its 9 images exists"):
        load_split(DatasetSpec(tmp_path))


def test_broken_json(tmp_path: Path) -> None:
    write_coco_video(tmp_path)
    file = tmp_path / "annotations" / "train.json"
    file.write_text('{"videos": [],\n"images": [}')
    with pytest.raises(UserError, match=rf"{file}:2: not valid JSON: .* \(column 12\)"):
        load_split(DatasetSpec(tmp_path))
    for text in ("[" * 100_000, f'{{"videos": {"9" * 5000}}}'):
        file.write_text(text)
        with pytest.raises(UserError, match=rf"{file}: cannot be read: "):
            load_split(DatasetSpec(tmp_path))
        with pytest.raises(UserError, match=rf"{file}: cannot be read: "):
            load_ground_truth(tmp_path, split="train")
