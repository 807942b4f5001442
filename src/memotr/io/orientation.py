"""Orientation of stored pictures, as videos and image files declare it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """Transformation of a stored picture to upright: transpose, then mirror left-right and top-bottom."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of_matrix(cls, matrix: NDArray[np.float64]) -> Orientation:
        """Read the display matrix of a video; angles other than quarter turns are ignored.

        Args:
            matrix: (2, 2) with rows (a, b), (c, d), which maps stored (x, y) to shown (a·x + c·y, b·x + d·y).
        """
        (a, b), (c, d) = matrix
        if not math.isclose(max(abs(a), abs(c)), 1, abs_tol=0.01):
            return cls()
        if abs(a) > abs(c):
            return cls(mirror_x=a < 0, mirror_y=d < 0)
        return cls(transpose=True, mirror_x=c < 0, mirror_y=b < 0)

    @classmethod
    def of_exif(cls, number: int) -> Orientation:
        """Read the orientation tag of EXIF and TIFF, 1 to 8; other numbers mean no transformation."""
        if not 1 <= number <= 8:
            return cls()
        return cls(number >= 5, number in (2, 3, 6, 7), number in (3, 4, 7, 8))

    @property
    def reverse(self) -> Orientation:
        """Orientation that turns the upright picture back to the stored one."""
        return Orientation(self.transpose, self.mirror_y, self.mirror_x) if self.transpose else self

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a stored picture (H, W, 3) upright: (H, W, 3), or (W, H, 3) if transposed."""
        if self.transpose:
            image = np.asarray(cv2.transpose(image), np.uint8)
        if self.mirror_x or self.mirror_y:
            axis = -1 if self.mirror_x and self.mirror_y else int(self.mirror_x)
            image = np.asarray(cv2.flip(image, axis), np.uint8)
        return image
