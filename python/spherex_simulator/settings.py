"""Settings of a simulated survey, and its random numbers."""

from __future__ import annotations

import dataclasses
import datetime
import enum

import numpy as np

from spherex.detectors import FRAME_SIDE

DEFAULT_START = datetime.datetime(2026, 11, 23)
"""Begin of exposure 0, UTC."""

MINIMUM_SIDE = 32
"""Smallest side that leaves a column for each readout channel."""

_FIRST_YEAR, _LAST_YEAR = 2017, 2100


class Stream(enum.IntEnum):
    """Independent streams of random numbers.

    Each random quantity is drawn from a stream of its own, so that an exposure
    does not depend on what else is simulated.
    """

    SKY = 0
    POINTING = 1
    DETECTOR = 2
    RAW = 3
    DARK = 4
    LEVEL2 = 5


def check_side(side: int) -> None:
    """Check the number of rows, and of columns, of an image.

    Raises
    ------
    ValueError
        If it is out of range.
    """
    if not MINIMUM_SIDE <= side <= FRAME_SIDE:
        raise ValueError(f"The side must be {MINIMUM_SIDE} to {FRAME_SIDE} pixels, not {side}.")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a simulated survey.

    A frame of fewer pixels comes from a miniature of the telescope: it has the
    same field of view, and its mirror shrinks with the number of pixels.
    Diffuse light then causes the same rate per pixel, stars have the same
    density in the image, and a point source has the same size in pixels.

    Parameters
    ----------
    seed
        Seed of all random numbers, not negative.
    side
        Rows, and columns, of a frame.
    start
        Begin of exposure 0, UTC, without time zone.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    seed: int = 0
    side: int = FRAME_SIDE
    start: datetime.datetime = DEFAULT_START

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"The seed must be 0 or more, not {self.seed}.")
        check_side(self.side)
        if not _FIRST_YEAR <= self.start.year <= _LAST_YEAR:
            raise ValueError(f"The start must be from {_FIRST_YEAR} to {_LAST_YEAR}, not {self.start.year}.")

    @property
    def miniature(self) -> float:
        """Side of a frame relative to the real one."""
        return self.side / FRAME_SIDE

    def rng(self, stream: Stream, *item: int) -> np.random.Generator:
        """Return the random number generator of an item.

        Parameters
        ----------
        stream
            Kind of item.
        *item
            Numbers of the item, such as exposure and detector.
        """
        return np.random.default_rng([self.seed, stream, *item])
