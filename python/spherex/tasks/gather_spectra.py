"""Spectra of targets: joined rows of the measurements in single images.

`spherex.tasks.measure_targets` writes the rows, `spherex.spectra.tables` joins
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812

import spherex
from spherex.detectors import MEASUREMENTS_TYPE, SPECTRUM_TYPE

from .caching import DatasetCache, dataset_key

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table


class TableRows:
    """Rows of targets in measurement tables, with a cache of the tables.

    Targets that lie close together are in the same images, so that a process
    needs each table once for each of them. If the tables of one target exceed
    the memory, the first ones stay in the cache, and the others are read again
    for each target.

    Parameters
    ----------
    max_bytes
        Memory for tables (bytes).
    """

    def __init__(self, max_bytes: int = 256 * 2**20) -> None:
        self._tables: DatasetCache[pa.Table] = DatasetCache(max_bytes, getsizeof=lambda table: table.nbytes)

    def of(self, target: str, handles: Sequence[Any]) -> tuple[list[Table], list[Any]]:
        """Return the rows of a target.

        Parameters
        ----------
        target
            Name of the target.
        handles
            Handles of tables in parquet, such as `lsst.daf.butler.DeferredDatasetHandle`.

        Returns
        -------
        rows
            One table with all rows; an empty list if there are no rows.
        without
            Handles of tables without the target.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        from lsst.daf.butler.formatters.parquet import arrow_to_astropy

        parts, without, nbytes = [], [], 0
        for handle in handles:
            key = dataset_key(handle)
            table = self._tables.get(key)
            if table is None:
                table = handle.get(storageClass="ArrowParquet")
            # The next target needs the same tables in the same order: if the
            # last ones replaced the first ones, none would be found again.
            if nbytes + table.nbytes <= self._tables.maxsize:
                self._tables[key] = table
                nbytes += table.nbytes
            rows = table.filter(pc.equal(table["target"], target))
            if len(rows):
                parts.append(rows)
            else:
                without.append(handle)
        if not parts:
            return [], without
        # The conversion takes longer than everything else, so that it is done
        # once. The metadata of the first table would cut the texts of all to
        # the length of its own.
        rows = pa.concat_tables(parts, promote_options="default").replace_schema_metadata()
        return [arrow_to_astropy(rows)], without


_ROWS = TableRows()
"""Rows for all quanta of this process."""


class GatherSpectraConnections(pipeBase.PipelineTaskConnections, dimensions=("catalog", "target")):
    """Inputs and outputs of `GatherSpectraTask`."""

    measurements = cT.Input(
        doc="Measurements of the targets of a catalogue in one image.",
        name=MEASUREMENTS_TYPE,
        storageClass="AstropyParquet",
        dimensions=("instrument", "exposure", "detector", "catalog"),
        multiple=True,
        deferLoad=True,
        minimum=1,
    )
    spectrum = cT.Output(
        doc="All measurements of one target, by wavelength.",
        name=SPECTRUM_TYPE,
        storageClass="AstropyQTable",
        dimensions=("catalog", "target"),
    )


class GatherSpectraConfig(pipeBase.PipelineTaskConfig, pipelineConnections=GatherSpectraConnections):
    """Configuration of `GatherSpectraTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.


class GatherSpectraTask(pipeBase.PipelineTask):
    """Join the measurements of a target in all images into its spectrum.

    One image with a measurement is enough. Other images may lack one, because
    their quantum failed or because the target is outside of their frame; the
    metadata of the spectrum list the latter.
    """

    ConfigClass = GatherSpectraConfig
    _DefaultName = "gatherSpectra"
    config: GatherSpectraConfig

    def runQuantum(
        self,
        butlerQC: pipeBase.QuantumContext,
        inputRefs: pipeBase.InputQuantizedConnection,
        outputRefs: pipeBase.OutputQuantizedConnection,
    ) -> None:
        """Run on datasets; see `lsst.pipe.base.PipelineTask.runQuantum`."""
        data_id = outputRefs.spectrum.dataId
        record = data_id.records["target"]
        meta = {
            "catalog": data_id["catalog"],
            "target": data_id["target"],
            "ra": record.ra,
            "dec": record.dec,
            "position": "ICRS, degrees",
        }
        butlerQC.put(self.run(butlerQC.get(inputRefs.measurements), data_id["target"], meta), outputRefs)

    def run(
        self,
        measurements: Sequence[Any],
        target: str,
        meta: Mapping[str, Any] | None = None,
    ) -> pipeBase.Struct:
        """Join the measurements of a target.

        Parameters
        ----------
        measurements
            Handles of tables, such as `lsst.daf.butler.DeferredDatasetHandle`,
            with data IDs of instrument, exposure and detector.
        target
            Name of the target.
        meta
            Further metadata of the spectrum.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``spectrum``, an `astropy.table.QTable`.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If no table has a row of the target.
        """
        from spherex.spectra import DIAGNOSTICS, OFF_FRAME, DetectorDiagnostics, gather_spectrum

        rows, without = _ROWS.of(target, measurements)
        if without:
            self.log.warning(
                "%s is outside of %d of %d images whose region contains it. If these are cutouts, and others of the "
                "same exposures contain it, name the collection of its field as input (-i SPHEREx/level2/<label>).",
                target,
                len(without),
                len(measurements),
            )
        if not rows:
            raise pipeBase.NoWorkFound(
                # The executor adds a full stop.
                f"None of {len(measurements)} images whose region has {target} has a measurement of it: the target is "
                "outside of their frames or cutouts, or missing in the catalogue that they were measured with"
            )
        provenance = {
            "instruments": sorted({handle.dataId["instrument"] for handle in measurements}),
            "code": {"spherex-butler": spherex.__version__, "lsst-pipe-base": pipeBase.__version__},
            OFF_FRAME: sorted([handle.dataId["exposure"], handle.dataId["detector"]] for handle in without),
        }
        spectrum = gather_spectrum(rows, {**(meta or {}), **provenance})
        for entry in spectrum.meta[DIAGNOSTICS]:
            found = DetectorDiagnostics(**entry)
            for text in found.warnings():
                self.log.warning("%s, detector %d: %s.", target, found.detector, text)
        return pipeBase.Struct(spectrum=spectrum)
