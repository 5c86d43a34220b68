"""Why a spectrum would be another one today."""

from __future__ import annotations

__all__ = ["StaleSpectrum"]

import dataclasses
from typing import TYPE_CHECKING

from .catalogs import DELETED
from .current import Place

if TYPE_CHECKING:
    from lsst.daf.butler import DatasetRef


@dataclasses.dataclass
class StaleSpectrum:
    """A spectrum that would be another one today.

    Parameters
    ----------
    ref
        The spectrum.
    superseded
        Images of which there is a newer version.
    gone
        Images that the collection of images has no more.
    new
        Images that contain the target and are not in the spectrum.
    recalibrated
        Images for which another calibration is valid, by the dataset type of
        the calibration.
    catalog_change
        What has become of the target in the catalogue; empty if nothing has.
    moved
        Images that were measured where the target is no more.
    failed
        Images whose measurement failed.
    """

    ref: DatasetRef
    superseded: list[Place] = dataclasses.field(default_factory=list)
    gone: list[Place] = dataclasses.field(default_factory=list)
    new: list[Place] = dataclasses.field(default_factory=list)
    recalibrated: dict[str, list[Place]] = dataclasses.field(default_factory=dict)
    catalog_change: str = ""
    moved: list[Place] = dataclasses.field(default_factory=list)
    failed: list[Place] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        places = (self.superseded, self.gone, self.new, self.recalibrated, self.failed)
        return bool(self.catalog_change) or any(places)

    @property
    def reason(self) -> str:
        """What was superseded, for people."""
        parts = [
            (len(self.superseded), "superseded"),
            (len(self.gone), "no longer there"),
            (len(self.new), "new"),
            *((len(places), f"with another {name}") for name, places in sorted(self.recalibrated.items())),
            (len(self.failed), "failed"),
        ]
        told = [f"{number} image{'s' * (number != 1)} {what}" for number, what in parts if number]
        return ", ".join([self.catalog_change] * bool(self.catalog_change) + told)

    @property
    def can_be_made(self) -> bool:
        """Whether the catalogue still has the target."""
        return self.catalog_change != DELETED

    @property
    def to_measure(self) -> set[Place]:
        """Images that have to be measured again, or for the first time."""
        recalibrated = (place for places in self.recalibrated.values() for place in places)
        return {*self.superseded, *self.new, *recalibrated, *self.moved, *self.failed}
