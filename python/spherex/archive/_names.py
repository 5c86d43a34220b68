"""Names and places of files in the archive."""

from __future__ import annotations

__all__ = ["CALIBRATION_REGEX", "LEVEL2_REGEX", "CalibrationName", "Level2Name"]

import dataclasses
import re
from typing import Self

from ._observation import OBSID_PATTERN, ArchiveNameError, ObservationId
from ._run import RUN_PATTERN, ProcessingRun

LEVEL2_REGEX = rf"^level2_{OBSID_PATTERN}D(?P<detector>[1-6])_spx_(?P<run>{RUN_PATTERN})\.fits$"
"""Names of Level 2 images in the archive."""

CALIBRATION_REGEX = (
    rf"^(?P<type>[a-z][a-z0-9_]*?)(?:_D(?P<detector>[1-6]))?_spx_(?P<run>{RUN_PATTERN})\.(?P<extension>fits|yaml)$"
)
"""Names of calibration products in the archive."""

_LEVEL2 = re.compile(LEVEL2_REGEX)
_CALIBRATION = re.compile(CALIBRATION_REGEX)


@dataclasses.dataclass(frozen=True, slots=True)
class Level2Name:
    """What the name of a Level 2 image says.

    Parameters
    ----------
    observation
        The observation.
    detector
        Detector number, 1 to 6.
    run
        Processing run.
    """

    observation: ObservationId
    detector: int
    run: ProcessingRun

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a file name without its directory.

        Raises
        ------
        ArchiveNameError
            If it is not the name of a Level 2 image.
        """
        match = _LEVEL2.search(name)
        if match is None:
            raise ArchiveNameError(f"{name!r} is no name of a Level 2 image of the archive")
        observation = ObservationId.parse(name[len("level2_") : match.start("detector") - 1])
        return cls(observation, int(match["detector"]), ProcessingRun.parse(match["run"]))

    @property
    def tree(self) -> str:
        """Path below the directory ``level2`` of a release, with ``/``."""
        return f"{self.observation.planning_period}/{self.run}/{self.detector}/{self}"

    def __str__(self) -> str:
        return f"level2_{self.observation}D{self.detector}_spx_{self.run}.fits"


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationName:
    """What the name of a calibration product says.

    Parameters
    ----------
    type
        Kind of calibration by the archive's name, such as spectral_wcs.
    detector
        Detector number, 1 to 6; `None` if it holds for all detectors.
    run
        Processing run.
    extension
        ``fits`` or ``yaml``.
    """

    type: str
    detector: int | None
    run: ProcessingRun
    extension: str = "fits"

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a file name without its directory.

        Raises
        ------
        ArchiveNameError
            If it is not the name of a calibration product.
        """
        match = _CALIBRATION.search(name)
        if match is None or match["type"] == "level2":
            raise ArchiveNameError(f"{name!r} is no name of a calibration product of the archive")
        detector = None if match["detector"] is None else int(match["detector"])
        return cls(match["type"], detector, ProcessingRun.parse(match["run"]), match["extension"])

    @property
    def tree(self) -> str:
        """Path below the directory of a release, with ``/``."""
        level = "" if self.detector is None else f"{self.detector}/"
        return f"{self.type}/{self.run}/{level}{self}"

    def __str__(self) -> str:
        detector = "" if self.detector is None else f"_D{self.detector}"
        return f"{self.type}{detector}_spx_{self.run}.{self.extension}"
