"""Paths of the figures: pauses, and moves that violate the assumption of constant motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from memotr.data.synth.settings import FPS, Difficulty

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Move = Callable[["Choreographer", Floats], Floats]

OUTSIDE = 0.35
"""Distance beyond the picture's edge, in frame heights, at which no part of a figure is visible."""


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths of N figures in T frames; lengths in frame heights.

    Attributes:
        x: (T, N) distance to the right of the stage's middle.
        depth: (T, N) 0 at the back of the stage, 1 at its front.
        turn: (T, N) rotation in radians; 0 faces the viewer, positive turns to the right.
        hop: (T, N) height above the ground.
        stride: (T, N) phase of the steps in radians.
        speed: (T, N) smoothed speed in frame heights per frame.
    """

    x: Floats
    depth: Floats
    turn: Floats
    hop: Floats
    stride: Floats
    speed: Floats


@dataclass(frozen=True)
class Stage:
    """Geometry of the stage; lengths in frame heights.

    Attributes:
        half_width: distance from the middle to the edge of the picture.
        pan: largest camera motion.
        hideouts: x of the scenery.
        figure_width: approximate width of a standing figure.
    """

    half_width: float
    pan: float
    hideouts: tuple[float, ...]
    figure_width: float


def choreograph(rng: np.random.Generator, num: int, frames: int, stage: Stage, difficulty: Difficulty) -> Paths:
    """Return random paths of ``num`` figures through ``frames`` frames."""
    choreographer = Choreographer(rng, num, frames, stage, difficulty)
    choreographer.direct()
    return _add_dancing(rng, choreographer.places, choreographer.spins)


class Choreographer:
    """Generator of random moves. A figure makes one move at a time.

    Attributes:
        places: (T, N, 2) x and depth of every figure in every frame.
        spins: (T, N) additional rotation in radians.
    """

    def __init__(self, rng: np.random.Generator, num: int, frames: int, stage: Stage, difficulty: Difficulty) -> None:
        self.rng, self.stage, self.difficulty = rng, stage, difficulty
        self.places = np.repeat(self._formation(num)[None], frames, axis=0)
        self.spins = np.zeros((frames, num))
        self._free = rng.integers(2, 10, num)  # first frame in which a figure is free for a move

    def direct(self) -> None:
        """Start random moves of free figures at random times."""
        frames, num = self.places.shape[:2]
        for t in range(1, frames):
            free = np.flatnonzero(self._free <= t)
            if len(free) and self.rng.random() < self.difficulty.pace / FPS * num / 2:
                self._begin(t, free)

    def _begin(self, t: int, free: Ints) -> None:
        """Start a random move of some of the free figures in frame t."""
        kinds, weights = zip(*MOVES.items(), strict=True)
        move = kinds[self.rng.choice(len(kinds), p=np.array(weights) / sum(weights))]
        together = self.rng.random() < 0.25  # the whole troupe makes the same move
        for group in self._groups(free, 1 if move in SOLO else 2, len(free) if together else 1):
            path = move(self, self.places[t - 1, group])
            length = min(len(path), len(self.places) - t)
            self.places[t : t + length, group] = path[:length]
            self.places[t + length :, group] = path[length - 1]
            self._free[group] = t + len(path) + self.rng.integers(3, 9)
            if self.rng.random() < 0.4:
                self._spin(t, group)

    def _groups(self, free: Ints, size: int, most: int) -> list[Ints]:
        """Return groups of ``size`` free figures, at most max(1, ``most // size``); pairs are neighbours."""
        at = self.places[-1, free, 0]
        order = free[np.argsort(at)] if size > 1 else self.rng.permutation(free)
        begin = int(self.rng.integers(0, max(1, len(order) - size + 1))) if most == 1 else 0
        groups = [order[k : k + size] for k in range(begin, len(order) - size + 1, size)]
        return groups[: max(1, most // size)]

    def _spin(self, t: int, group: Ints) -> None:
        """Turn figures once around, from frame t on."""
        length = int(self.rng.integers(6, 12))
        turned = 2 * np.pi * _ease(np.arange(1, len(self.spins) - t + 1) / length)
        self.spins[t:, group] += self.rng.choice([-1.0, 1.0]) * turned[:, None]

    def _formation(self, num: int) -> Floats:
        """Return places (N, 2) side by side, in one or two rows."""
        reach = self.stage.half_width - 0.55 * self.stage.figure_width
        x = np.linspace(-reach, reach, num) if num > 1 else np.zeros(1)
        rows = np.where(np.arange(num) % 2, 0.25, 0.75) if num > 3 else np.full(num, 0.5)
        jitter = self.rng.uniform(-0.15, 0.15, (num, 2)) * (1.5 * reach / num, 1)
        return self.rng.permutation(np.stack([x, rows], axis=1) + jitter)

    # Moves. Each maps the places before the move (n, 2) to the places in every frame of the move (frames, n, 2).

    def swap(self, at: Floats) -> Floats:
        """Swap two figures within a few frames, one passing in front of the other."""
        n = int(self.rng.integers(2, 6))
        return self._cross(at, at[::-1], np.arange(1, n + 1) / n)

    def meet(self, at: Floats) -> Floats:
        """Move two figures towards each other until they touch; then they turn back or walk past each other.

        Sometimes they meet and pause behind scenery.
        """
        middle = at.mean(axis=0)
        hideouts = [x for x in self.stage.hideouts if np.abs(at[:, 0] - x).max() < 0.5]
        pause = 0
        if hideouts and self.rng.random() < 0.7:
            middle = np.array([hideouts[int(self.rng.integers(len(hideouts)))], 0.1])
            pause = int(self.rng.integers(0, 6))
        side = np.sign(at[:, :1] - at[:, :1].mean()) * (0.12 * self.stage.figure_width, 0)
        contact = middle + side
        frames = int(np.clip(np.abs(at - contact)[:, 0].max() / 0.05, 4, 12))
        there = np.linspace(0, 1, frames + 1)[1:, None, None]
        back = self.rng.random() < self.difficulty.reversals
        end = at if back else at[::-1]
        leg_in = at + (contact - at) * there
        leg_out = contact + (end - contact) * there
        path = np.concatenate([leg_in, np.repeat(contact[None], pause, axis=0), leg_out])
        return self._apart(path)

    def exchange(self, at: Floats) -> Floats:
        """Swap two figures at walking pace, with slow start and end."""
        n = int(self.rng.integers(9, 18))
        return self._cross(at, at[::-1], _ease(np.arange(1, n + 1) / n))

    def wander(self, at: Floats) -> Floats:
        """Move one figure to another place, with stops and turns on the way."""
        reach = self.stage.half_width - 0.5 * self.stage.figure_width
        stops = [at]
        for _ in range(int(self.rng.integers(1, 3))):
            step = self.rng.uniform(0.25, 0.7, (len(at), 1)) * self.rng.choice([-1.0, 1.0], (len(at), 1))
            goal = np.concatenate([stops[-1][:, :1] + step, self.rng.uniform(0.1, 0.9, (len(at), 1))], axis=1)
            goal[:, 0] = np.where(np.abs(goal[:, 0]) > reach, stops[-1][:, 0] - step[:, 0], goal[:, 0])
            goal[:, 0] = np.clip(goal[:, 0], -reach, reach)
            stops.append(goal)
        legs = []
        for a, b in pairwise(stops):
            n = int(self.rng.integers(5, 12))
            legs.append(a + (b - a) * _ease(np.arange(1, n + 1) / n)[:, None, None])
        return np.concatenate(legs)

    def leave(self, at: Floats) -> Floats:
        """Move one figure out of the picture, and back later from the same or the other side."""
        edge = self.stage.half_width + self.stage.pan + OUTSIDE
        near = np.where(at[:, 0] > 0, edge, -edge)
        absence, start = int(self.rng.integers(6, 20)), at.copy()
        entry_x = near if self.rng.random() < 0.5 else -near
        exit_ = np.stack([near, at[:, 1]], axis=1)
        entry = np.stack([entry_x, at[:, 1]], axis=1)
        legs = []
        for a, b in ((at, exit_), (entry, start)):
            n = max(4, int(np.abs(b - a)[:, 0].max() / self.rng.uniform(0.05, 0.08)))
            legs.append(a + (b - a) * (np.arange(1, n + 1) / n)[:, None, None])
        return np.concatenate([legs[0], np.repeat(entry[None], absence, axis=0), legs[1]])

    def _cross(self, start: Floats, end: Floats, progress: Floats) -> Floats:
        """Return straight paths (frames, n, 2) from start to end, with progress (frames,) in [0, 1]."""
        return self._apart(start + (end - start) * progress[:, None, None])

    def _apart(self, path: Floats) -> Floats:
        """Shift the depths of two crossing figures, so that one passes in front of the other."""
        if path.shape[1] == 2:
            near = np.exp(-(((path[:, 0, 0] - path[:, 1, 0]) / self.stage.figure_width) ** 2))
            sign = np.array([1, -1]) * self.rng.choice([-1.0, 1.0])
            path[:-1, :, 1] += 0.12 * near[:-1, None] * sign
        return path


MOVES: dict[Move, float] = {
    Choreographer.swap: 3.0,
    Choreographer.meet: 4.0,
    Choreographer.exchange: 1.0,
    Choreographer.wander: 2.0,
    Choreographer.leave: 0.8,
}
SOLO = (Choreographer.wander, Choreographer.leave)


def _add_dancing(rng: np.random.Generator, places: Floats, spins: Floats) -> Paths:
    """Return paths with swaying, hops and turns added to the moves."""
    frames, num = places.shape[:2]
    beat = rng.uniform(0.35, 0.8)  # radians per frame, the same for all figures
    phase = beat * np.arange(frames)[:, None] + rng.uniform(0, 0.6) * np.arange(num)
    step = np.diff(places[..., 0], axis=0, prepend=places[:1, :, 0])
    speed = _smooth(step)
    still = np.exp(-((speed / 0.02) ** 2))
    x = places[..., 0] + rng.uniform(0.008, 0.025) * np.sin(phase) * still
    hop = rng.uniform(0.0, 0.03) * np.abs(np.sin(phase)) + 0.012 * np.abs(np.sin(1.2 * np.arange(frames)))[:, None] * (
        1 - still
    )
    turn = rng.uniform(0.1, 0.5) * np.sin(phase / 2) + 1.25 * np.tanh(speed / 0.02) + spins
    stride = np.cumsum(np.abs(step) * 22 + 0.02, axis=0) + phase
    return Paths(x, np.clip(places[..., 1], -0.1, 1.1), turn, hop, stride, np.abs(speed))


def _smooth(values: Floats) -> Floats:
    """Return the mean over three frames of values (T, N)."""
    padded = np.pad(values, ((1, 1), (0, 0)), mode="edge")
    return np.asarray((padded[:-2] + padded[1:-1] + padded[2:]) / 3)


def _ease(progress: Floats) -> Floats:
    """Map linear progress in [0, 1] to progress with a slow start and a slow end."""
    progress = np.clip(progress, 0, 1)
    return progress * progress * (3 - 2 * progress)
