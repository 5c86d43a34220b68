"""Spectra of the targets of a patch: joined rows of the measurements in single images.

`spherex.tasks.measure_targets` writes the rows, `spherex.spectra.patches` joins
them.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np

import spherex
from spherex.detectors import MEASUREMENTS_TYPE, PATCH_TARGETS_TYPE, SPECTRA_TYPE
from spherex.errors import listed

from .caching import DatasetCache, dataset_key
from .patches import warn_of_missing_images

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table
    from numpy.typing import NDArray


class TableRows:
    """Rows of targets in measurement tables, with a cache of the tables.

    Patches that lie close together are in the same images, so that a process
    needs each table once for each of them. If the tables of one patch exceed
    the memory, the first ones stay in the cache, and the others are read again
    for each patch.

    Parameters
    ----------
    max_bytes
        Memory for tables (bytes).
    """

    def __init__(self, max_bytes: int = 256 * 2**20) -> None:
        self._tables: DatasetCache[pa.Table] = DatasetCache(max_bytes, getsizeof=lambda table: table.nbytes)

    def of(self, targets: Sequence[str], handles: Sequence[Any]) -> list[pa.Table]:
        """Return the rows of targets in each table.

        Parameters
        ----------
        targets
            Names of the targets.
        handles
            Handles of tables in parquet, such as `lsst.daf.butler.DeferredDatasetHandle`.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        names = pa.array(targets, pa.string())
        parts, nbytes = [], 0
        for handle in handles:
            key = dataset_key(handle)
            table = self._tables.get(key)
            if table is None:
                table = handle.get(storageClass="ArrowParquet")
            # The next patch needs the same tables in the same order: if the
            # last ones replaced the first ones, none would be found again.
            if nbytes + table.nbytes <= self._tables.maxsize:
                self._tables[key] = table
                nbytes += table.nbytes
            parts.append(table.filter(pc.is_in(table["target"], value_set=names)))
        return parts


_ROWS = TableRows()
"""Rows for all quanta of this process."""


class GatherSpectraConnections(pipeBase.PipelineTaskConnections, dimensions=("catalog", "patch")):
    """Inputs and outputs of `GatherSpectraTask`."""

    patchTargets = cT.Input(
        doc="Targets of the patch.",
        name=PATCH_TARGETS_TYPE,
        storageClass="AstropyParquet",
        dimensions=("catalog", "patch"),
    )
    measurements = cT.Input(
        doc="Measurements of the targets of a catalogue in one image.",
        name=MEASUREMENTS_TYPE,
        storageClass="AstropyParquet",
        dimensions=("instrument", "exposure", "detector", "catalog"),
        multiple=True,
        deferLoad=True,
        minimum=1,
    )
    spectra = cT.Output(
        doc="All measurements of the targets of a patch, by target and wavelength.",
        name=SPECTRA_TYPE,
        storageClass="SpectraTable",
        dimensions=("catalog", "patch"),
    )

    def adjust_all_quanta(self, adjuster: pipeBase.QuantaAdjuster) -> None:
        """Warn of patches in which some targets lack images.

        See `lsst.pipe.base.PipelineTaskConnections.adjust_all_quanta`.
        """
        used: dict[Any, set[Any]] = {}
        for data_id in adjuster.iter_data_ids():
            used[data_id] = set(adjuster.get_inputs(data_id)["measurements"])
        warn_of_missing_images(adjuster.butler, self.measurements.name, used)


class GatherSpectraConfig(pipeBase.PipelineTaskConfig, pipelineConnections=GatherSpectraConnections):
    """Configuration of `GatherSpectraTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.


class GatherSpectraTask(pipeBase.PipelineTask):
    """Join the measurements of the targets of a patch in all images into their spectra.

    One image with a measurement is enough. Other images may lack one, because
    their quantum failed or because the target is outside of their frame; the
    metadata of a target have the number of the latter.
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
        data_id = outputRefs.spectra.dataId
        targets = butlerQC.get(inputRefs.patchTargets)
        measurements = butlerQC.get(inputRefs.measurements)
        butlerQC.put(self.run(measurements, targets, data_id["catalog"], data_id["patch"]), outputRefs)

    def run(self, measurements: Sequence[Any], targets: Table, catalog: str = "", patch: int = 0) -> pipeBase.Struct:
        """Join the measurements of targets.

        Parameters
        ----------
        measurements
            Handles of tables, such as `lsst.daf.butler.DeferredDatasetHandle`,
            with data IDs of instrument, exposure and detector.
        targets
            Columns name, ra and dec (deg, ICRS), and optionally pmra and pmdec
            (mas/yr) with ref_epoch (Julian year).
        catalog, patch
            Name of the catalogue, and number of the patch.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``spectra``, a `pyarrow.Table`, see `spherex.spectra.gather_patch`.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If no table has a row of a target.
        """
        from spherex.spectra import IMAGES, MEASUREMENTS, OFF_FRAME, TARGETS, gather_patch, motions_of

        names = np.asarray(targets["name"], dtype=str)
        rows = _ROWS.of(names.tolist(), measurements)
        ra, dec = (np.asarray(targets[name], dtype=float) for name in ("ra", "dec"))
        inside, missing = self._missing(names, ra, dec, measurements, rows)
        if missing.any():
            worst = int(np.argmax(missing))
            self.log.warning(
                "%d of %d targets of patch %d are outside of images whose region contains them, such as %s (%d of %d "
                "images). If these are cutouts, and others of the same exposures contain it, name the collection of "
                "its field as input (-i SPHEREx/level2/<label>).",
                np.count_nonzero(missing),
                len(names),
                patch,
                names[worst],
                missing[worst],
                inside[worst],
            )
        if not any(map(len, rows)):
            raise pipeBase.NoWorkFound(
                # The executor adds a full stop.
                f"None of {len(measurements)} images whose region overlaps patch {patch} has a measurement of its "
                f"{len(names)} targets: they are outside of the frames or cutouts, or missing in the catalogue that "
                "the images were measured with"
            )
        facts = zip(names.tolist(), ra.tolist(), dec.tolist(), motions_of(targets), missing.tolist(), strict=True)
        images = sorted(
            [handle.dataId["instrument"], handle.dataId["exposure"], handle.dataId["detector"]]
            for handle in measurements
        )
        spectra = gather_patch(
            rows,
            {
                "catalog": catalog,
                "patch": patch,
                "position": "ICRS, degrees",
                "instruments": sorted({instrument for instrument, *_ in images}),
                "code": {"spherex-butler": spherex.__version__, "lsst-pipe-base": pipeBase.__version__},
                IMAGES: images,
                MEASUREMENTS: self.config.connections.measurements,
                TARGETS: {
                    name: {"ra": one, "dec": other, **motion, OFF_FRAME: number}
                    for name, one, other, motion, number in facts
                },
            },
        )
        self._warn_of_images(spectra, patch)
        return pipeBase.Struct(spectra=spectra)

    @staticmethod
    def _missing(
        names: NDArray[np.str_],
        ra: NDArray[np.float64],
        dec: NDArray[np.float64],
        measurements: Sequence[Any],
        rows: Sequence[pa.Table],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of images whose region contains each target, and of those of them without a row of it."""
        place = {name: number for number, name in enumerate(names.tolist())}
        inside, missing = np.zeros((2, len(names)), np.int64)
        lon, lat = np.radians(ra), np.radians(dec)
        for handle, table in zip(measurements, rows, strict=True):
            region = handle.dataId.region if handle.dataId.hasRecords() else None
            if region is None:
                continue
            contained = np.asarray(region.contains(lon, lat))
            inside += contained
            contained[[place[name] for name in table["target"].to_pylist()]] = False
            missing += contained
        return inside, missing

    def _warn_of_images(self, spectra: pa.Table, patch: int) -> None:
        """Warn of images whose PSF or astrometry is wrong, once for all targets in them."""
        from spherex.spectra import diagnose_patch

        found: dict[tuple[int, str], list[str]] = collections.defaultdict(list)
        for target, known in diagnose_patch(spectra):
            for text in known.warnings():
                found[known.detector, text].append(target)
        for (detector, text), targets in found.items():
            self.log.warning("%s of patch %d, detector %d: %s.", listed(targets, most=1), patch, detector, text)
