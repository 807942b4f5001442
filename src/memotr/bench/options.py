"""What is measured, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from memotr.config import Config

Size = tuple[int, int]  # height, width in pixels


@dataclass(frozen=True)
class Options:
    """All that the parts of a run are told.

    Attributes:
        config: of the network; its weights are random.
        device: what computes.
        sizes: of frames as the network takes them.
        tracks: numbers of tracks with which a frame is measured.
        rounds: in which all contenders take their turns.
        memory: measure peak memory too, each contender in a process of its own.
        compile: measure the compiled tracker too.
        crowd: tracks wherever their number is not the question.
        source: size of the frames of videos and of image files.
        video_frames: length of a video.
        clip_frames: length of a training clip.
        clip_size: of its frames.
        clip_objects: on each of them.
        clips: how many a run of the data loader has.
        workers: numbers of processes with which the data loader is measured.
        scored: sequences, frames in each and objects on each that are scored.
        programs: numbers of programs that run at once; the first is 1.
        settling: seconds that they run before they are measured.
        window: seconds in which they are measured.
    """

    config: Config
    device: str = "cpu"
    sizes: tuple[Size, ...] = ((448, 800), (800, 1422))
    tracks: tuple[int, ...] = (0, 10, 50, 200)
    rounds: int = 5
    memory: bool = False
    compile: bool = False
    crowd: int = 30
    source: Size = (1080, 1920)
    video_frames: int = 8
    clip_frames: int = 3
    clip_size: Size = (256, 448)
    clip_objects: int = 10
    clips: int = 20
    workers: tuple[int, ...] = (0, 1, 2)
    scored: tuple[int, int, int] = (25, 1000, 9)
    programs: tuple[int, ...] = (1, 2, 4)
    settling: float = 2.0
    window: float = 3.0

    def quick(self) -> Options:
        """So small that everything takes seconds: to see that it works; the numbers mean nothing."""
        return replace(
            self,
            sizes=((64, 96),),
            tracks=(0, 3),
            rounds=2,
            crowd=3,
            source=(96, 128),
            video_frames=3,
            clip_frames=2,
            clip_size=(64, 96),
            clip_objects=2,
            clips=2,
            workers=(0,),
            scored=(2, 20, 3),
            programs=(1, 2),
            settling=0.0,
            window=0.5,
        )
