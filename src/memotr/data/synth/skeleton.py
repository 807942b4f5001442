"""Joints of dancing figures: a three-dimensional skeleton, rotated about its axis and viewed from the front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memotr.data.synth.choreography import Paths

Floats = NDArray[np.float64]

# Lengths as fractions of a figure's height.
HIP, SHOULDER, HEAD = 0.44, 0.72, 0.86
HIP_HALF, SHOULDER_HALF = 0.075, 0.125
THIGH = SHIN = 0.22
UPPER_ARM = FOREARM = 0.165

NAMES = ("hip", "shoulder", "head", "hip_l", "hip_r", "knee_l", "knee_r", "foot_l", "foot_r",
         "shoulder_l", "shoulder_r", "elbow_l", "elbow_r", "hand_l", "hand_r")  # fmt: skip
JOINT = {name: k for k, name in enumerate(NAMES)}


@dataclass(frozen=True, eq=False)
class Dance:
    """Limb motion of a troupe. Angles in radians.

    Attributes:
        raise_mean, raise_swing: mean and amplitude of the arms' angle, from hanging (0) to straight up (π).
        bend: bend of the elbows.
        opposed: the arms are raised alternately.
        kick: sideways angle of the legs.
        tempo: arm movements per beat.
    """

    raise_mean: float
    raise_swing: float
    bend: float
    opposed: bool
    kick: float
    tempo: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Dance:
        """Draw a random dance."""
        return cls(
            rng.uniform(0.4, 1.5), rng.uniform(0.3, 0.9), rng.uniform(0.2, 1.2), rng.random() < 0.5,
            rng.uniform(0.05, 0.35), float(rng.choice([0.5, 1.0])),
        )  # fmt: skip


def joints(paths: Paths, dance: Dance) -> Floats:
    """Return joints (T, N, J, 3) in figure heights: x to the right, y up from the ground, z towards the viewer."""
    walk = np.clip(paths.speed / 0.03, 0, 1)
    at = np.zeros((*paths.x.shape, len(NAMES), 3))
    dip = 0.02 * np.abs(np.sin(paths.stride))
    at[..., :, 1] = -dip[..., None]
    at[..., JOINT["hip"], 1] += HIP
    at[..., JOINT["shoulder"], 1] += SHOULDER
    at[..., JOINT["head"], 1] += HEAD
    at[..., JOINT["head"], 0] += 0.02 * np.sin(paths.stride / 2)
    for side, sign in (("l", -1.0), ("r", 1.0)):
        _leg(at, side, sign, paths.stride, walk, dance)
        _arm(at, side, sign, paths.stride, walk, dance)
    cos, sin = np.cos(paths.turn)[..., None], np.sin(paths.turn)[..., None]
    x, z = at[..., 0].copy(), at[..., 2].copy()
    at[..., 0], at[..., 2] = x * cos + z * sin, z * cos - x * sin
    return at


def _leg(at: Floats, side: str, sign: float, phase: Floats, walk: Floats, dance: Dance) -> None:
    swing = sign * (0.75 * walk) * np.sin(phase)
    spread = 0.06 + dance.kick * (1 - walk) * np.maximum(0, sign * np.sin(phase))
    bend = 0.15 + 0.9 * walk * np.maximum(0, sign * np.cos(phase))
    hip = at[..., JOINT["hip"], :] + (sign * HIP_HALF, 0, 0)
    knee = hip + THIGH * _down(sign * spread, swing)
    foot = knee + SHIN * _down(sign * spread, swing - bend)
    at[..., JOINT[f"hip_{side}"], :], at[..., JOINT[f"knee_{side}"], :] = hip, knee
    at[..., JOINT[f"foot_{side}"], :] = foot


def _arm(at: Floats, side: str, sign: float, phase: Floats, walk: Floats, dance: Dance) -> None:
    beat = np.sin(phase * dance.tempo + (np.pi if dance.opposed and sign > 0 else 0))
    lift = (1 - 0.7 * walk) * (dance.raise_mean + dance.raise_swing * beat) + 0.15
    swing = -sign * 0.8 * walk * np.sin(phase)
    shoulder = at[..., JOINT["shoulder"], :] + (sign * SHOULDER_HALF, 0, 0)
    elbow = shoulder + UPPER_ARM * _down(sign * lift, swing)
    hand = elbow + FOREARM * _down(sign * (lift + dance.bend * (1 - walk)), swing + 0.5 * walk)
    at[..., JOINT[f"shoulder_{side}"], :], at[..., JOINT[f"elbow_{side}"], :] = shoulder, elbow
    at[..., JOINT[f"hand_{side}"], :] = hand


def _down(sideways: Floats, forward: Floats) -> Floats:
    """Return unit vectors (…, 3) that point down, tilted to the side, then forward."""
    return np.stack([np.sin(sideways) * np.cos(forward), -np.cos(sideways) * np.cos(forward), np.sin(forward)], axis=-1)
