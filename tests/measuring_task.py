"""A task that measures targets as the real one does, but in images that are only a number."""

from __future__ import annotations

import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT
from astropy.table import Table

from spherex.calibrations import CalibrationLookup
from spherex.spectra import make_table

from .spectra_helpers import FIRST_MJD, IMAGE_DIMENSIONS


class NumberConnections(pipeBase.PipelineTaskConnections, dimensions=(*IMAGE_DIMENSIONS, "catalog")):
    image = cT.Input(doc="Image.", name="level2", storageClass="StructuredDataDict", dimensions=IMAGE_DIMENSIONS)
    targets = cT.Input(
        doc="Targets.", name="target_catalog", storageClass="AstropyParquet", dimensions=("catalog",), deferLoad=True
    )
    calibration = cT.PrerequisiteInput(
        doc="Calibration.",
        name="spectral_wcs",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "detector"),
        isCalibration=True,
        lookupFunction=CalibrationLookup(),
    )
    table = cT.Output(
        doc="Measurements.",
        name="target_measurements",
        storageClass="AstropyParquet",
        dimensions=(*IMAGE_DIMENSIONS, "catalog"),
    )


class NumberConfig(pipeBase.PipelineTaskConfig, pipelineConnections=NumberConnections):
    pass


class MeasureNumberTask(pipeBase.PipelineTask):
    ConfigClass = NumberConfig
    _DefaultName = "measureTargets"

    def runQuantum(self, butlerQC, inputRefs, outputRefs):
        ref = inputRefs.image
        image = butlerQC.get(ref)
        if image.get("broken"):
            raise RuntimeError("this image cannot be read")
        values = {
            "target": image["targets"],
            "wavelength": image.get("wavelength", 1.0 + 1e-3 * ref.dataId["exposure"]),
            "flux": image["flux"],
            "flux_error": 1.0,
            "time": FIRST_MJD + 0.01 * ref.dataId["exposure"],
            "exposure": ref.dataId["exposure"],
            "detector": ref.dataId["detector"],
            "version": "7.0.5",
            "image_id": str(ref.id),
            "image_run": ref.run,
            "reason": image.get("reason", ""),
            "catalog_id": str(inputRefs.targets.id),
            "spectral_wcs_id": str(inputRefs.calibration.id),
        }
        butlerQC.put(Table(make_table(values, len(image["targets"]))), outputRefs.table)
