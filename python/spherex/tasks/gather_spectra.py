"""Spectra of targets from the measurements in single images."""

from __future__ import annotations

import collections
import uuid
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812

import spherex
from spherex.detectors import SPECTRUM_TYPE

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table


_KEY = "target"
_MOST_BYTES = 256 * 2**20


class TableRows:
    """Picks the rows of targets from tables, and remembers the tables.

    Targets that lie close together are in the same images: one process
    would read each table once for each of them. Where the tables of a target
    need more memory than there is, the first ones stay, and the rest is read
    again for each target.

    Parameters
    ----------
    most_bytes
        Memory for tables.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._tables: collections.OrderedDict[uuid.UUID, pa.Table] = collections.OrderedDict()

    def of(self, target: str, handles: Sequence[Any]) -> tuple[list[Table], list[Any]]:
        """Return the rows of a target.

        Parameters
        ----------
        target
            Its name.
        handles
            Handles of tables in parquet, such as `lsst.daf.butler.DeferredDatasetHandle`.

        Returns
        -------
        rows
            One table with all rows; none if there are no rows.
        without
            Handles of tables without the target.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        from lsst.daf.butler.formatters.parquet import arrow_to_astropy

        parts, without = [], []
        wanted = {handle.ref.id for handle in handles}
        for handle in handles:
            table = self._read(handle, wanted)
            rows = table.filter(pc.equal(table[_KEY], target))
            if len(rows):
                parts.append(rows)
            else:
                without.append(handle)
        if not parts:
            return [], without
        # The conversion costs more than all of the rest: it is done once. The
        # metadata of the first table would cut all texts to the length of its own.
        joined = [arrow_to_astropy(pa.concat_tables(parts, promote_options="default").replace_schema_metadata())]
        return joined, without

    def _read(self, handle: Any, wanted: Set[uuid.UUID]) -> pa.Table:
        known = self._tables.get(handle.ref.id)
        if known is not None:
            self._tables.move_to_end(handle.ref.id)
            return known
        table = handle.get(storageClass="ArrowParquet")
        # The next target asks for the same tables in the same order: if one
        # gave way to the next, none would be there any more when it is its turn.
        while self._bytes + table.nbytes > self._most_bytes:
            oldest = next((one for one in self._tables if one not in wanted), None)
            if oldest is None:
                return table
            self._bytes -= self._tables.pop(oldest).nbytes
        self._tables[handle.ref.id] = table
        self._bytes += table.nbytes
        return table


_ROWS = TableRows()
"""Tables that this process has read, for all of its quanta."""


class GatherSpectraConnections(pipeBase.PipelineTaskConnections, dimensions=("catalog", "target")):
    """What `GatherSpectraTask` reads and writes."""

    measurements = cT.Input(
        doc="Measurements of the targets of a catalogue in one image.",
        name="target_measurements",
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


class GatherSpectraTask(pipeBase.PipelineTask):
    """Join the measurements of a target in all images into its spectrum.

    Images that have no measurement, because their quantum failed or the
    target is not on their frame, do not matter as long as one has. The
    metadata name the latter.
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
        """Gather.

        Parameters
        ----------
        measurements
            Handles of tables, as `lsst.daf.butler.DeferredDatasetHandle`,
            with data IDs of instrument, exposure and detector.
        target
            Name of the target.
        meta
            What else is known of it.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``spectrum``, an `astropy.table.QTable`.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If no table has a row of the target.
        """
        from spherex.spectra import OFF_FRAME, gather_spectrum

        rows, without = _ROWS.of(target, measurements)
        if not rows:
            raise pipeBase.NoWorkFound(
                # The executor adds a full stop.
                f"None of {len(measurements)} images whose region has {target} has a measurement of it: it is on none "
                "of their frames, or not in the catalogue that they were measured with"
            )
        facts = {
            "instruments": sorted({handle.dataId["instrument"] for handle in measurements}),
            "code": {"spherex-butler": spherex.__version__, "lsst-pipe-base": pipeBase.__version__},
            OFF_FRAME: sorted([handle.dataId["exposure"], handle.dataId["detector"]] for handle in without),
        }
        return pipeBase.Struct(spectrum=gather_spectrum(rows, {**(meta or {}), **facts}))
