"""Spectra of targets from the measurements in single images."""

from __future__ import annotations

__all__ = ["GatherSpectraConfig", "GatherSpectraConnections", "GatherSpectraTask"]

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812

from ._table_rows import TableRows

_ROWS = TableRows()
"""Tables that this process has read, for all of its quanta."""

_PACKAGES = ("spherex-butler", "lsst-pipe-base")


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
        name="spectrum",
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
        from ..spectra import gather_spectrum
        from ..spectra.gathering import OFF_FRAME

        rows, without = _ROWS.of(target, measurements)
        if not rows:
            raise pipeBase.NoWorkFound(
                # The executor adds a full stop.
                f"None of {len(measurements)} images whose region has {target} has a measurement of it: it is on none "
                "of their frames, or not in the catalogue that they were measured with"
            )
        facts = {
            "instruments": sorted({handle.dataId["instrument"] for handle in measurements}),
            "code": {name: importlib.metadata.version(name) for name in _PACKAGES},
            OFF_FRAME: sorted([handle.dataId["exposure"], handle.dataId["detector"]] for handle in without),
        }
        return pipeBase.Struct(spectrum=gather_spectrum(rows, {**(meta or {}), **facts}))
