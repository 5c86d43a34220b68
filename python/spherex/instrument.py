"""Instruments of SPHEREx data for the Butler."""

from __future__ import annotations

__all__ = ["CREATE_COMMAND", "NAMESPACE", "SPHEREx", "SPHERExInstrument", "SimulatorInstrument"]

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lsst.pipe.base import Instrument
from lsst.utils.introspection import get_full_type_name

from spherex.detectors import DETECTOR_IDS, DETECTORS

if TYPE_CHECKING:
    from lsst.daf.butler import DataId, FormatterV2
    from lsst.daf.butler.registry import Registry


NAMESPACE = "spherex"
"""Namespace of the dimension universe."""

CREATE_COMMAND = "butler create-spherex"
"""Command that makes a repository of that universe, without the repository."""


class SPHERExInstrument(Instrument):
    """Instrument with the six SPHEREx detectors.

    Subclasses set the class attributes. They may be in another package:
    `register` writes their full name.
    """

    name: ClassVar[str]
    """Name of the instrument in data IDs."""

    exposure_max: ClassVar[int]
    """Upper bound of exposure ids (exclusive)."""

    detector_max: ClassVar[int] = max(DETECTOR_IDS) + 1
    """Upper bound of detector ids (exclusive)."""

    detector_name: ClassVar[str] = "array{id}"
    """Format of the full names of detectors."""

    record_fields: ClassVar[Mapping[str, frozenset[str]]] = {
        "instrument": frozenset({"exposure_max", "detector_max", "class_name"}),
        "detector": frozenset({"full_name", "lmin", "lmax", "r", "desc"}),
    }
    """Fields of the records that `register` inserts, by dimension, without keys."""

    @classmethod
    def getName(cls) -> str:  # noqa: N802
        """Return the name of the instrument in data IDs."""
        if cls is SPHERExInstrument:
            raise TypeError(
                "SPHERExInstrument is a base class: use spherex.instrument.SPHEREx, or a class with a name."
            )
        return cls.name

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Insert the records of the instrument and its detectors, or compare existing ones.

        Parameters
        ----------
        registry
            Registry of the repository, of the universe ``spherex``.
        update
            Overwrite records that differ.

        Raises
        ------
        lsst.daf.butler.registry.ConflictingDefinitionError
            If a record differs and ``update`` is false.
        RuntimeError
            If the repository has another universe.
        """
        universe = registry.dimensions
        missing = [
            f"{name}.{field}"
            for name, fields in self.record_fields.items()
            for field in sorted(fields.difference(universe[name].schema.names))
        ]
        if universe.namespace != NAMESPACE or missing:
            reason = f"which lacks {', '.join(missing)}" if universe.namespace == NAMESPACE else f"not {NAMESPACE!r}"
            raise RuntimeError(
                f"Instrument {self.name!r} cannot be registered: the repository was made with the dimension "
                f"universe {universe.namespace!r} version {universe.version}, {reason}. Make one with "
                f"'{CREATE_COMMAND} REPO'."
            )
        with registry.transaction():
            registry.syncDimensionData(
                "instrument",
                {
                    "name": self.name,
                    "exposure_max": self.exposure_max,
                    "detector_max": self.detector_max,
                    "class_name": get_full_type_name(self),
                },
                update=update,
            )
            for detector in DETECTORS:
                registry.syncDimensionData(
                    "detector",
                    {
                        "instrument": self.name,
                        "id": detector.id,
                        "full_name": self.detector_name.format(id=detector.id),
                        "lmin": detector.lmin,
                        "lmax": detector.lmax,
                        "r": detector.r,
                        "desc": detector.desc,
                    },
                    update=update,
                )

    def getRawFormatter(self, dataId: DataId) -> type[FormatterV2]:  # noqa: N802, N803
        """Return the formatter of raw images, the same for every data ID."""
        from spherex.formatters import SPHERExImageFormatter

        return SPHERExImageFormatter


class SPHEREx(SPHERExInstrument):
    """SPHEREx, the source of the images in the public archive.

    The id of an exposure is EXPIDN without its last digit, which is the
    detector. The name of an exposure is OBSID. See
    `spherex.archive.ObservationId`.
    """

    name = "SPHEREx"
    exposure_max = 10**14
    detector_name = "D{id}"


class SimulatorInstrument(SPHERExInstrument):
    """Simulator, whose exposures are numbered from 0."""

    name = "simulator"
    exposure_max = 1_000_000
