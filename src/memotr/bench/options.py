"""Settings of a benchmark run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from memotr.config import Config

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Ladder:
    """Options of the part `ladder`; where one is empty, values are chosen by the model and the device.

    Attributes:
        checkpoint: weights file or name of weights.
        dataset: folder of the data set.
        folder: folder of ``ladder.csv`` and ``ladder.png``.
        split: split of the data set; None: the only one.
        sequences: patterns of the names of sequences; empty: all.
        short_sides: short sides of the network's input in pixels.
        precisions: numerical precisions of the network.
        decoder_layers: numbers of decoder layers that are used.
        every: numbers k; every k-th frame is tracked.
    """

    checkpoint: str
    dataset: Path
    folder: Path
    split: str | None = None
    sequences: tuple[str, ...] = ()
    short_sides: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ()
    decoder_layers: tuple[int, ...] = ()
    every: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Options:
    """Settings of all parts of a benchmark run.

    Attributes:
        config: configuration of the network; its weights are random.
        device: device to compute on.
        sizes: sizes of the network's input.
        tracks: numbers of tracks with which a frame is measured.
        rounds: number of timed rounds.
        memory: also measure peak memory, each contender in its own process.
        compile: also measure the compiled tracker.
        crowd: number of tracks in all other parts.
        source: size of the frames in videos and image files.
        video_frames: number of frames in a video.
        clip_frames: number of frames in a training clip.
        clip_size: size of a training clip's frames.
        clip_objects: number of objects in each of its frames.
        clips: number of clips in a run of the data loader.
        workers: numbers of worker processes of the data loader.
        scored: numbers of sequences, frames per sequence and objects per frame that are scored.
        programs: numbers of programs that run at once; the first is 1.
        settling: seconds that programs run before they are measured.
        window: seconds in which programs are measured.
        ladder: settings of the part `ladder`, which needs them.
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
    ladder: Ladder | None = None

    def quick(self) -> Options:
        """Return the settings with such small sizes that a run takes seconds. Its numbers are meaningless."""
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
