"""What distinguishes one simulated set of Level 2 images from another."""

from __future__ import annotations

__all__ = ["Level2Settings"]

import dataclasses

from spherex.archive import Level2Name, ProcessingRun
from spherex.detectors import FRAME_SIDE
from spherex.errors import ArchiveNameError

from .._pointing import pointing_of
from .._settings import MINIMUM_SIDE, Settings
from .._stars import NamedStars
from ._observation import observation_of
from ._releases import Release


@dataclasses.dataclass(frozen=True)
class Level2Settings:
    """What distinguishes one simulated set of Level 2 images from another.

    Parameters
    ----------
    survey
        Seed and start; its frames are whole.
    release
        The release whose form the images take.
    run
        Processing run that they are said to come from.
    side
        Rows, and columns, of an image. Fewer than a whole frame has make it a
        cutout of the frame.
    centre
        Right ascension and declination, deg, around which is cut; by default
        the middle of the frame.
    with_stars
        Whether the sky has its own stars and galaxies.
    sources
        Further sources.

    Raises
    ------
    ValueError
        If one of them is out of range.
    """

    survey: Settings
    release: Release
    run: ProcessingRun
    side: int = FRAME_SIDE
    centre: tuple[float, float] | None = None
    with_stars: bool = True
    sources: NamedStars | None = None

    def __post_init__(self) -> None:
        if self.survey.side != FRAME_SIDE:
            raise ValueError("A Level 2 image is cut from a whole frame, not made by a miniature telescope.")
        if not MINIMUM_SIDE <= self.side <= FRAME_SIDE:
            raise ValueError(f"The side must be {MINIMUM_SIDE} to {FRAME_SIDE} pixels, not {self.side}.")
        if self.run.pipeline not in ("l2b", "l2b_retry") or self.run.version is None:
            raise ArchiveNameError(f"{self.run} is no run that makes Level 2 images, such as {self.release.run}")

    def name_of(self, exposure: int, detector: int) -> Level2Name:
        """Return the archive's name of an image."""
        observation = observation_of(pointing_of(self.survey, exposure))
        return Level2Name(observation, detector, self.run)
