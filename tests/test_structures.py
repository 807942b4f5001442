import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from memotr.errors import UserError
from memotr.structures import FrameTargets, ImageBatch, TrackState
from memotr.tracks import Tracks
from tests.builders import random_images, random_output, random_tracks


def test_images_are_padded_to_a_common_multiple():
    batch = ImageBatch.from_images([torch.ones(3, 40, 65), torch.ones(3, 33, 20)])
    assert batch.pixels.shape == (2, 3, 64, 96)
    assert [(~mask).sum().item() for mask in batch.mask] == [40 * 65, 33 * 20]
    assert (batch.pixels[:, 0] == 0).equal(batch.mask)


def test_an_image_batch_checks_itself():
    with pytest.raises(ValueError, match="ImageBatch"):
        ImageBatch(torch.zeros(2, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool))


def test_track_states_are_indexed_and_joined():
    tracks = random_tracks(5)
    joined = TrackState.cat([tracks[:2], tracks[torch.tensor([4])], tracks[tracks.ids == 3]])
    assert joined.ids.tolist() == [0, 1, 4, 3]
    assert joined.long_memory.equal(tracks.long_memory[[0, 1, 4, 3]])


def test_a_track_state_checks_its_lengths():
    with pytest.raises(ValueError, match=r"TrackState\.boxes has length 2, expected 3"):
        random_tracks(3).replace(boxes=torch.zeros(2, 4))


def test_empty_is_legal():
    empty = TrackState.empty(num_classes=2, hidden_dim=8, query_dim=16, history=5)
    assert len(TrackState.cat([empty, empty])) == 0
    assert empty.scores.shape == (0, 2)
    assert len(FrameTargets(torch.zeros(0), torch.zeros(0), torch.zeros(0, 4))) == 0


def test_a_batch_element_has_no_padding():
    one, two = random_output(4, 3, seed=1), random_output(4, 3, seed=2)
    fields = ("logits", "boxes", "output_embed", "query_embed", "ref_pts", "init_ref_pts")
    stacked = {name: torch.stack((getattr(one, name), getattr(two, name))) for name in fields}
    batch = type(one)(**stacked, num_detections=4, num_tracks=(3, 1))
    assert len(batch[0].logits) == 7
    assert batch[1].boxes.equal(two.boxes[:5])


def tracks_of_three():
    boxes = np.array([[0, 0, 10, 20], [5, 5, 7, 9], [1.5, 2.5, 3.25, 4]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    return Tracks(np.array([4, 7, 2]), boxes, scores, np.array([0, 1, 0]), 6, ("person", "car"))


def test_tracks_convert():
    tracks = tracks_of_three()
    assert tracks.names == ["person", "car", "person"]
    first = next(iter(tracks))
    assert first["id"] == 4
    assert first["box"] == [0, 0, 10, 20]
    assert first["class"] == "person"
    assert tracks[tracks.scores > 0.75].ids.tolist() == [4, 7]
    assert len(Tracks.empty(0, ("person",))) == 0


def test_tracks_are_selected_with_everything_that_belongs_to_their_frame():
    image = np.zeros((4, 5, 3), np.uint8)
    tracks = replace(tracks_of_three(), time=0.24, image=image)
    for index, ids in ((0, [4]), (np.int64(2), [2]), (-1, [2]), (slice(1, 3), [7, 2]), ([2, 0], [2, 4])):
        chosen = tracks[index]
        assert chosen.ids.tolist() == ids
        assert len(chosen) == len(ids)
        assert (chosen.frame, chosen.time, chosen.image is image) == (6, 0.24, True)
    with pytest.raises(IndexError):
        tracks[3]


def test_tracks_become_supervision_detections():
    detections = tracks_of_three().to_supervision()
    assert detections.tracker_id.tolist() == [4, 7, 2]
    assert detections.data["class_name"].tolist() == ["person", "car", "person"]
    assert len(Tracks.empty(0, ("person",)).to_supervision()) == 0


def test_without_supervision_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    message = r"supervision is required but not installed: pip install 'memotr\[supervision\]'"
    with pytest.raises(UserError, match=message):
        tracks_of_three().to_supervision()


def test_tracks_check_themselves():
    with pytest.raises(ValueError, match=r"Tracks\.boxes"):
        Tracks(np.zeros(1, np.int64), np.zeros((1, 3)), np.zeros(1), np.zeros(1, np.int64), 0, ("person",))


def test_a_batch_is_padded_if_any_of_its_images_is():
    assert not random_images([(32, 64), (32, 64)]).padded
    assert random_images([(32, 64), (32, 60)]).padded
    assert replace(random_images([(32, 64)]), sizes=None).padded, "sizes that are not known"
