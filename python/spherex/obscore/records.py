"""ObsCore records of datasets of the universe ``spherex``."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from lsst.daf.butler.registry.obscore import RecordFactory

if TYPE_CHECKING:
    from lsst.daf.butler import DatasetRef, DimensionGroup, DimensionUniverse
    from lsst.daf.butler.registry.obscore import (
        DerivedRegionFactory,
        ObsCoreConfig,
        ObsCoreSchema,
        SpatialObsCorePlugin,
    )


_METRES = 1e-6
"""Length of a micrometre (m)."""


def bandpass_of(detector: int | None) -> str:
    """Return the name of the filter of a detector in the archive.

    Parameters
    ----------
    detector
        Number of the detector; `None` for all detectors.
    """
    return "SPHEREx" if detector is None else f"SPHEREx-D{detector}"


class SPHERExRecordFactory(RecordFactory):
    """Factory of ObsCore records of datasets.

    Parameters
    ----------
    config
        Configuration, with one of each dataset type.
    schema
        Columns of the table.
    universe
        The dimension universe.
    spatial_plugins
        Plugins for the columns on regions.
    derived_region_factory
        Source of regions for data IDs without a region of their own, which do
        not exist in our universe.
    """

    # The constructor of the base class looks up band, visit and physical_filter, which our universe does not have.
    def __init__(
        self,
        config: ObsCoreConfig,
        schema: ObsCoreSchema,
        universe: DimensionUniverse,
        spatial_plugins: Collection[SpatialObsCorePlugin],
        derived_region_factory: DerivedRegionFactory | None = None,
    ) -> None:
        self.config = config
        self.schema = schema
        self.universe = universe
        self.spatial_plugins = spatial_plugins
        self.derived_region_factory = derived_region_factory

    def region_dimension(self, dimensions: DimensionGroup) -> tuple[str, str] | tuple[None, None]:
        """Return the dimension element with the region, and the name of its field.

        Parameters
        ----------
        dimensions
            Dimensions of a dataset type.
        """
        element = dimensions.region_dimension
        return (element, "region") if element else (None, None)

    def make_universe_records(self, ref: DatasetRef) -> dict[str, Any]:
        """Return the columns that come from dimension records.

        Parameters
        ----------
        ref
            The dataset, its data ID with records.

        Returns
        -------
        record
            Values by column.
        """
        data_id = ref.dataId
        instrument = data_id.get("instrument", self.config.fallback_instrument)
        record: dict[str, Any] = {
            "instrument_name": instrument,
            "facility_name": self.config.facility_map.get(str(instrument), self.config.facility_name),
        }
        if self.schema.dataset_fk is not None:
            record[self.schema.dataset_fk.name] = ref.id
        if (timespan := data_id.timespan) is not None and not timespan.isEmpty():
            for column, time in (("t_min", timespan.begin), ("t_max", timespan.end)):
                record[column] = None if time is None else float(time.utc.mjd)  # type: ignore[union-attr]
        record |= self.make_spatial_records(
            data_id.region, warn=True, msg=f"No columns on the region of ObsCore dataset {ref.id}"
        )
        if "exposure" in data_id and (exposure := data_id.records["exposure"]) is not None:
            record |= {"t_exptime": exposure.exposure_time, "target_name": exposure.target_name}
        if "target" in data_id:
            record["target_name"] = data_id["target"]
        if "detector" in data_id and (detector := data_id.records["detector"]) is not None:
            record |= {
                "em_min": None if detector.lmin is None else detector.lmin * _METRES,
                "em_max": None if detector.lmax is None else detector.lmax * _METRES,
                "em_res_power": detector.r,
                "em_filter_name": bandpass_of(detector.id),
            }
        return record

    def finalize_format_keywords(self, format_kws: dict[str, Any]) -> None:
        """Add keywords for the patterns of the configuration.

        Parameters
        ----------
        format_kws
            Values by keyword; ``observation`` and ``bandpass`` are added.
        """
        exposure = format_kws["records"]["exposure"] if "exposure" in format_kws else None
        format_kws["observation"] = format_kws["dataset_type"] if exposure is None else exposure.name
        format_kws["bandpass"] = bandpass_of(format_kws.get("detector"))
