import sys

import numpy as np
import pytest
import supervision as sv

from memotr.errors import UserError
from memotr.tracking.supervision_tracker import SupervisionTracker
from memotr.tracking.tracker import Tracker
from tests.builders import tiny_model
from tests.tracking.test_tracker import frames


def test_detections_are_the_tracks_of_frames_in_bgr():
    model, video = tiny_model(classes=3), frames(3)
    expected = [Tracker(model, min_area=0).update(video[0]), *list(Tracker(model, min_area=0).track(video))[1:]]
    adapter = SupervisionTracker(model, min_area=0)
    for _ in range(2):
        for frame, tracks in zip(video, expected, strict=True):
            found = adapter.update(frame[..., ::-1])
            assert isinstance(found, sv.Detections)
            assert len(found) == len(tracks) > 0
            assert found.tracker_id.tolist() == tracks.ids.tolist()
            assert found.data["class_name"].tolist() == tracks.names
            np.testing.assert_array_equal(found.xyxy, tracks.boxes)
            np.testing.assert_array_equal(found.confidence, tracks.scores)
            np.testing.assert_array_equal(found.class_id, tracks.labels)
        adapter.reset()
    picture = sv.BoxAnnotator().annotate(video[0].copy(), found)
    assert not np.array_equal(picture, video[0])


def test_a_tracker_of_any_kind_is_taken():
    tracker, (frame,) = Tracker(tiny_model(), min_area=0), frames(1)
    adapter = SupervisionTracker(tracker, channels="rgb")
    assert adapter.tracker is tracker
    assert adapter.update(frame).tracker_id.tolist() == Tracker(tiny_model(), min_area=0).update(frame).ids.tolist()
    with pytest.raises(TypeError, match="settings of its own: leave out det_thresh"):
        SupervisionTracker(tracker, det_thresh=0.4)


def test_a_missing_package_is_named_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    words = r"^supervision is required but not installed: pip install 'memotr\[supervision\]'$"
    with pytest.raises(UserError, match=words):
        SupervisionTracker(tiny_model())
