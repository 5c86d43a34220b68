"""Scale of the errors of fluxes from repeated visits, a calibration.

`spherex.spectra.measure_error_scale` finds the pairs of visits and does the
statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np

from spherex.detectors import ERROR_SCALE_TYPE, MEASUREMENTS_TYPE

if TYPE_CHECKING:
    from astropy.table import Table


class MeasureErrorScaleConnections(pipeBase.PipelineTaskConnections, dimensions=("instrument", "detector")):
    """Inputs and outputs of `MeasureErrorScaleTask`."""

    measurements = cT.Input(
        doc="Measurements of the targets of catalogues in all images of a detector, with errors that were not scaled.",
        name=MEASUREMENTS_TYPE,
        storageClass="AstropyParquet",
        dimensions=("instrument", "exposure", "detector", "catalog"),
        multiple=True,
        deferLoad=True,
    )
    errorScale = cT.Output(
        doc="Factor for the errors in each bin of flux over error, to be certified for a timespan.",
        name=ERROR_SCALE_TYPE,
        storageClass="AstropyQTable",
        dimensions=("instrument", "detector"),
        isCalibration=True,
    )


class MeasureErrorScaleConfig(pipeBase.PipelineTaskConfig, pipelineConnections=MeasureErrorScaleConnections):
    """Configuration of `MeasureErrorScaleTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.

    passSeparation = pexConfig.RangeField(
        dtype=float, default=0.5, min=0.0, doc="Visits farther apart than this are in different passes (d)."
    )
    wavelengthDistance = pexConfig.RangeField(
        dtype=float,
        default=0.15,
        min=0.0,
        inclusiveMin=False,
        doc="Wavelengths of a pair differ by less than this, in units of the bandwidth.",
    )
    snrEdges = pexConfig.ListField[float](
        default=[5.0, 20.0, 100.0], doc="Limits between the bins of flux over error, ascending."
    )
    fewestPairs = pexConfig.RangeField(
        dtype=int, default=100, min=2, doc="A bin with fewer pairs has no scale. With 100 it is known to 12 %."
    )

    def validate(self) -> None:
        """Check the configuration; see `lsst.pex.config.Config.validate`."""
        super().validate()
        edges = list(self.snrEdges)
        if edges != sorted(set(edges)) or not np.isfinite(edges).all():
            raise pexConfig.FieldValidationError(
                self._fields["snrEdges"], self, f"Limits of bins are finite numbers, ascending, not {edges}."
            )


class MeasureErrorScaleTask(pipeBase.PipelineTask):
    """Measure the scale of the errors of a detector from pairs of visits."""

    ConfigClass = MeasureErrorScaleConfig
    _DefaultName = "measureErrorScale"
    config: MeasureErrorScaleConfig

    def run(self, measurements: Sequence[Any]) -> pipeBase.Struct:
        """Measure the scale of errors.

        Parameters
        ----------
        measurements
            Handles of tables, such as `lsst.daf.butler.DeferredDatasetHandle`,
            with the data ID of the catalogue, in any order.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``errorScale``, an `astropy.table.QTable`.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If no bin has enough pairs.
        """
        from spherex.spectra import PAIR_COLUMNS, PairSettings, measure_error_scale

        config = self.config
        tables: dict[str, list[Table]] = {}
        for handle in sorted(measurements, key=lambda handle: (handle.dataId["catalog"], handle.dataId["exposure"])):
            try:
                table = handle.get(parameters={"columns": list(PAIR_COLUMNS)})
            except ValueError as error:
                error.add_note("Tables of earlier versions of this package lack columns: measure their targets again.")
                raise
            tables.setdefault(handle.dataId["catalog"], []).append(table)
        settings = PairSettings(
            config.passSeparation,
            config.wavelengthDistance,
            tuple(config.snrEdges),
            config.fewestPairs,
        )
        scale = measure_error_scale(tables, settings)
        has_scale = np.isfinite(scale["scale"])
        self.metadata["measurements"] = scale.meta["measurements"]
        self.metadata["pairs"] = int(scale["pairs"].sum())
        self.metadata["bins_with_scale"] = int(has_scale.sum())
        if not has_scale.any():
            raise pipeBase.NoWorkFound(
                f"No bin has {config.fewestPairs} pairs of visits of a target at one wavelength, more than "
                f"{config.passSeparation:g} d apart: {scale.meta['measurements']} good measurements in "
                f"{len(measurements)} tables have {self.metadata['pairs']} pairs"
            )
        for row in scale:
            message = "Flux over error %.3g to %.3g: scale %.3f +- %.3f from %d pairs."
            if not np.isfinite(row["scale"]):
                message = "Flux over error %.3g to %.3g: no scale (%.3f +- %.3f), only %d pairs."
            self.log.info(message, row["snr_low"], row["snr_high"], row["scale"], row["scale_error"], row["pairs"])
        scale.meta["images"] = len(measurements)
        scale.meta["catalogs"] = sorted(tables)
        return pipeBase.Struct(errorScale=scale)
