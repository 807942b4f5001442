import numpy as np

from memotr.demo.comparison import MotionTracker
from memotr.tracks import Tracks


def at(frame, *lefts):
    boxes = np.array([(left, 10, left + 20, 60) for left in lefts], np.float32).reshape(-1, 4)
    n = len(lefts)
    return Tracks(np.arange(n) + 10 * frame, boxes, np.full(n, 0.9, np.float32), np.zeros(n, np.int64), frame, ("p",))


def test_ids_follow_motion_not_the_given_ids():
    motion = MotionTracker(fps=20)
    frames = [motion.update(at(t, 10 + 2 * t, 200 - 2 * t)) for t in range(8)]
    first, last = frames[3], frames[-1]
    assert len(first) == len(last) == 2
    assert dict(zip(first.ids.tolist(), first.boxes[:, 0] < 100, strict=True)) == dict(
        zip(last.ids.tolist(), last.boxes[:, 0] < 100, strict=True)
    )
    assert last.frame == 7


def test_a_frame_without_boxes_gives_none():
    motion = MotionTracker(fps=20)
    motion.update(at(0, 10))
    assert len(motion.update(at(1))) == 0
