"""Sources of known flux in images, and what a measurement recovers of them.

`spherex.spectra.inject_sources` adds the light, and
`spherex.spectra.compare_with_truth` does the statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np

from spherex.detectors import (
    INJECTED_MEASUREMENTS_TYPE,
    INJECTED_TYPE,
    MEASUREMENTS_TYPE,
    RECOVERY_TYPE,
    TRUTH_TYPE,
)

from .measure_targets import (
    ImageTargetsConfig,
    ImageTargetsConnections,
    image_ids_of,
    read_calibrations,
    read_catalog,
)

if TYPE_CHECKING:
    from astropy.table import Table

    from spherex.image import SPHERExImage


_DIMENSIONS = ("instrument", "exposure", "detector", "catalog")


class InjectSourcesConnections(ImageTargetsConnections, dimensions=_DIMENSIONS):
    """Inputs and outputs of `InjectSourcesTask`."""

    injected = cT.Output(
        doc="Copy of the image with the sources.",
        name=INJECTED_TYPE,
        storageClass="SPHERExImage",
        dimensions=("instrument", "exposure", "detector"),
    )
    truth = cT.Output(
        doc="Place and flux of each source on the image.",
        name=TRUTH_TYPE,
        storageClass="AstropyParquet",
        dimensions=_DIMENSIONS,
    )


class InjectSourcesConfig(ImageTargetsConfig, pipelineConnections=InjectSourcesConnections):
    """Configuration of `InjectSourcesTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.

    fluxColumn = pexConfig.Field[str](
        default=None,
        optional=True,
        doc="Column of the catalogue with the fluxes, in uJy if it has no unit. By default fluxes are drawn.",
    )
    fluxRange = pexConfig.ListField[float](
        default=[100.0, 100_000.0],
        length=2,
        doc="Limits of drawn fluxes (uJy). Equal intervals of their logarithm have equal numbers.",
    )
    seed = pexConfig.RangeField(dtype=int, default=0, min=0, doc="Another number draws other fluxes and noise.")

    def validate(self) -> None:
        """Check the configuration; see `lsst.pex.config.Config.validate`."""
        super().validate()
        low, high = self.fluxRange
        if not 0 < low <= high < np.inf:
            raise pexConfig.FieldValidationError(
                self._fields["fluxRange"],
                self,
                f"Fluxes are from a positive one to a greater one, not {low} to {high}.",
            )


class InjectSourcesTask(pipeBase.PipelineTask):
    """Add sources of known flux at the places of a catalogue to an image.

    The original image does not change.
    """

    ConfigClass = InjectSourcesConfig
    _DefaultName = "injectSources"
    config: InjectSourcesConfig

    def runQuantum(
        self,
        butlerQC: pipeBase.QuantumContext,
        inputRefs: pipeBase.InputQuantizedConnection,
        outputRefs: pipeBase.OutputQuantizedConnection,
    ) -> None:
        """Run on datasets; see `lsst.pipe.base.PipelineTask.runQuantum`."""
        ref = inputRefs.image
        del inputRefs.patchTargets
        inputs = butlerQC.get(inputRefs)
        inputs["image"], inputs["targets"] = inputs["image"].get(), read_catalog(inputs["targets"])
        outputs = self.run(**inputs, image_ids=image_ids_of(inputRefs))
        outputs.injected.header.add_history(f"[INPUT] {ref.datasetType.name} {ref.id}")
        butlerQC.put(outputs, outputRefs)

    def run(
        self,
        image: SPHERExImage,
        targets: Table,
        *,
        image_ids: Mapping[str, Any],
        solidAngles: Any = None,  # noqa: N803
        psf: Any = None,
        fluxCorrections: Any = None,  # noqa: N803
    ) -> pipeBase.Struct:
        """Add sources to a copy of an image.

        Parameters
        ----------
        image
            The image.
        targets
            The catalogue.
        image_ids
            Values of the columns that identify the image.
        solidAngles, psf, fluxCorrections
            Handles of calibrations; `None` without a calibration.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``injected``, a `~spherex.image.SPHERExImage`, and ``truth``, an
            `astropy.table.Table`.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If no target is on the image.
        """
        from spherex.spectra import InjectSettings, inject_sources

        config = self.config
        low, high = config.fluxRange
        injected, truth = inject_sources(
            image,
            targets,
            image_ids,
            read_calibrations(None, solidAngles, psf, fluxCorrections, is_psf_spare=config.is_psf_spare),
            InjectSettings(config.fluxColumn, (low, high), config.seed),
        )
        if not len(truth):
            raise pipeBase.NoWorkFound(
                f"None of {len(targets)} targets is on the image of exposure {image_ids['exposure']}, detector "
                f"{image_ids['detector']}"
            )
        failed = int(np.count_nonzero(truth["reason"] != ""))
        self.metadata["targets"] = len(truth)
        self.metadata["failed"] = failed
        if failed:
            self.log.warning("Nothing was injected for %d of %d targets: %s.", failed, len(truth), max(truth["reason"]))
        self.log.info("Injected %d sources.", len(truth) - failed)
        return pipeBase.Struct(injected=injected, truth=truth)


class CompareInjectedConnections(pipeBase.PipelineTaskConnections, dimensions=("instrument", "detector", "catalog")):
    """Inputs and outputs of `CompareInjectedTask`."""

    truth = cT.Input(
        doc="Injected fluxes.",
        name=TRUTH_TYPE,
        storageClass="AstropyParquet",
        dimensions=_DIMENSIONS,
        multiple=True,
        deferLoad=True,
    )
    injected = cT.Input(
        doc="Measurements in the images with the sources.",
        name=INJECTED_MEASUREMENTS_TYPE,
        storageClass="AstropyParquet",
        dimensions=_DIMENSIONS,
        multiple=True,
        deferLoad=True,
    )
    original = cT.Input(
        doc="Measurements at the same places in the original images.",
        name=MEASUREMENTS_TYPE,
        storageClass="AstropyParquet",
        dimensions=_DIMENSIONS,
        multiple=True,
        deferLoad=True,
    )
    recovery = cT.Output(
        doc="Bias and width of the pulls for each bin of flux.",
        name=RECOVERY_TYPE,
        storageClass="AstropyQTable",
        dimensions=("instrument", "detector", "catalog"),
    )


class CompareInjectedConfig(pipeBase.PipelineTaskConfig, pipelineConnections=CompareInjectedConnections):
    """Configuration of `CompareInjectedTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.

    binsPerDecade = pexConfig.RangeField(
        dtype=int, default=2, min=1, doc="Number of bins in a factor of ten of the injected flux."
    )
    mostOriginal = pexConfig.RangeField(
        dtype=float,
        default=5.0,
        min=0.0,
        inclusiveMin=False,
        doc="Places with less than this in the original (flux over its error) have no star. They alone give the width "
        "of the pulls.",
    )


class CompareInjectedTask(pipeBase.PipelineTask):
    """Compare the measured with the injected fluxes of all images of a detector."""

    ConfigClass = CompareInjectedConfig
    _DefaultName = "compareInjected"
    config: CompareInjectedConfig

    def run(self, truth: Sequence[Any], injected: Sequence[Any], original: Sequence[Any]) -> pipeBase.Struct:
        """Compare measured with injected fluxes.

        Parameters
        ----------
        truth, injected, original
            Handles of tables, such as `lsst.daf.butler.DeferredDatasetHandle`,
            in any order. Images with a truth alone count as not measured.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``recovery``, an `astropy.table.QTable`.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If nothing was injected.
        """
        from astropy.table import vstack

        from spherex.spectra import compare_with_truth

        tables = (vstack([handle.get() for handle in handles]) for handles in (truth, injected, original))
        true, with_sources, without = tables
        recovery = compare_with_truth(true, with_sources, without, self.config.binsPerDecade, self.config.mostOriginal)
        if not len(recovery):
            raise pipeBase.NoWorkFound(f"Nothing was injected into {len(truth)} images")
        for row in recovery:
            self.log.info(
                "Detector %d, %.3g to %.3g uJy: %d of %d recovered, bias %.2f %% and %.3f sigma, pull width %.3f.",
                row["detector"],
                row["flux_low"].value,
                row["flux_high"].value,
                row["recovered"],
                row["injected"],
                row["bias_percent"].value,
                row["bias_sigma"],
                row["pull_width"],
            )
        return pipeBase.Struct(recovery=recovery)
