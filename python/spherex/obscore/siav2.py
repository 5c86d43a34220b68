"""SIAv2 queries of repositories of the universe ``spherex``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lsst.dax.obscore.config import WhereBind
from lsst.dax.obscore.siav2 import Interval, SIAv2DafButlerHandler

if TYPE_CHECKING:
    from lsst.daf.butler import DimensionGroup


_MICROMETRES = 1e6


class SPHERExSIAv2Handler(SIAv2DafButlerHandler):
    """Handler that translates SIAv2 queries to queries of the Butler.

    In our universe wavelengths belong to detectors, not to filters.
    """

    def get_band_information(self, instruments: list[str], band_intervals: Iterable[Interval]) -> dict[str, Any]:
        """Return the detectors whose filters overlap bands.

        Parameters
        ----------
        instruments
            Names of instruments.
        band_intervals
            Bands in metres.

        Returns
        -------
        info
            Detectors of each instrument.
        """
        bands = [[value * _MICROMETRES for value in interval] for interval in band_intervals]
        fitting: dict[str, list[int]] = {name: [] for name in instruments}
        for name in instruments:
            for record in self.butler.query_dimension_records("detector", instrument=name, explain=False):
                if record.lmin is None or record.lmax is None:
                    self.warnings.append(f"Detector {record.id} of {name} has no wavelengths and is ignored")
                elif any(record.lmin <= longest and shortest <= record.lmax for shortest, longest in bands):
                    fitting[name].append(record.id)
        return {"detectors": fitting}

    def from_instrument_or_band(
        self, instruments: list[str], band_info: dict[str, Any], dimensions: DimensionGroup
    ) -> tuple[list[WhereBind], WhereBind | None]:
        """Return the conditions on instruments and detectors.

        Parameters
        ----------
        instruments
            Names of instruments.
        band_info
            Result of `get_band_information`, or empty.
        dimensions
            Dimensions of the dataset type.

        Returns
        -------
        instrument_wheres
            One condition for each instrument, for separate queries.
        general_where
            `None`: there is no common condition.
        """
        if "detectors" not in band_info or "detector" not in dimensions:
            return super().from_instrument_or_band(instruments, {}, dimensions)
        wheres = []
        for number, name in enumerate(instruments):
            detectors = band_info["detectors"][name]
            # Numbers of detectors are not negative: this finds nothing.
            wheres.append(
                WhereBind(
                    where=f"instrument = INST{number} AND detector IN (DETECTORS{number})",
                    bind={f"INST{number}": name, f"DETECTORS{number}": detectors or [-1]},
                )
            )
        return wheres, None
