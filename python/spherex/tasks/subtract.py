"""Subtraction of an image, or of the calibration that is valid for the exposure, from an image."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING

import click
import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np
from lsst.pipe.base.quantum_graph_builder import PrerequisiteMissingError

from spherex.calibrations import CalibrationLookup, explain_missing
from spherex.detectors import COMBINED_DARK_TYPE, DARK_TYPE, RAW_TYPE, SUBTRACTED_TYPE

from .compatibility import check_unit_and_detector, exposure_time_of, is_rate

if TYPE_CHECKING:
    from spherex.image import SPHERExImage


_LOG = logging.getLogger(__name__)

_DIMENSIONS = ("instrument", "exposure", "detector")

_SAMPLE = 2**16
"""Pixels for the statistics: the median is exact to some thousandths of the
noise, and takes less time than the subtraction.
"""


class SubtractConnections(pipeBase.PipelineTaskConnections, dimensions=_DIMENSIONS):
    """Inputs and outputs of `SubtractTask`."""

    inputImage = cT.Input(
        doc="Image to subtract from.", name=RAW_TYPE, storageClass="SPHERExImage", dimensions=_DIMENSIONS
    )
    subtractImage = cT.Input(
        doc="Image to subtract.", name=DARK_TYPE, storageClass="SPHERExImage", dimensions=_DIMENSIONS
    )
    outputImage = cT.Output(
        doc="The difference.", name=SUBTRACTED_TYPE, storageClass="SPHERExImage", dimensions=_DIMENSIONS
    )


class SubtractConfig(pipeBase.PipelineTaskConfig, pipelineConnections=SubtractConnections):
    """Configuration of `SubtractTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.

    scaleByExposureTime = pexConfig.Field[bool](
        default=False,
        doc="Multiply the image to subtract by the ratio of the exposure times (header keyword XPOSURE) first. For "
        "images in counts since the begin of the exposure, not for rates such as electron/s.",
    )


class SubtractTask(pipeBase.PipelineTask):
    """Subtract one image of a detector, such as a dark, from another.

    Variances are added, flags are joined by OR. Header, WCS and further planes
    are copied from the input image.
    """

    ConfigClass = SubtractConfig
    _DefaultName = "subtract"
    config: SubtractConfig

    def runQuantum(
        self,
        butlerQC: pipeBase.QuantumContext,
        inputRefs: pipeBase.InputQuantizedConnection,
        outputRefs: pipeBase.OutputQuantizedConnection,
    ) -> None:
        """Run on datasets; see `lsst.pipe.base.PipelineTask.runQuantum`."""
        outputs = self.run(**butlerQC.get(inputRefs))
        subtracted = inputRefs.subtractImage
        # The SPHEREx pipelines name their calibrations in the same form.
        outputs.outputImage.header.add_history(f"[CALIB] {subtracted.datasetType.name} {subtracted.id}")
        butlerQC.put(outputs, outputRefs)

    def run(self, inputImage: SPHERExImage, subtractImage: SPHERExImage) -> pipeBase.Struct:  # noqa: N803
        """Subtract one image from another.

        Parameters
        ----------
        inputImage
            Image to subtract from. Its further planes are those of the result,
            too.
        subtractImage
            Image to subtract.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``outputImage``, the difference.

        Raises
        ------
        ValueError
            If the images differ in shape, unit or detector, if only one of
            them has a variance, or if an exposure time is needed and missing.
        """
        from spherex.image import FlagPlane, SPHERExImage

        self._check(inputImage, subtractImage)
        scale = self._scale(inputImage, subtractImage) if self.config.scaleByExposureTime else 1.0
        planes = [plane for plane in (inputImage.flag_plane, subtractImage.flag_plane) if plane is not None]
        # The result shares no pixels with an input.
        flags = planes[0].combined(planes[1]) if len(planes) > 1 else None
        if len(planes) == 1:
            flags = FlagPlane(planes[0].array.copy(), planes[0].table)
        data = _floating(inputImage.data) - _scaled(subtractImage.data, scale)
        variance = inputImage.variance
        if variance is not None and subtractImage.variance is not None:
            variance = _floating(variance) + _scaled(subtractImage.variance, scale**2)
        masks = [image.mask for image in (inputImage, subtractImage) if image.mask is not None]
        output = SPHERExImage(
            inputImage,
            variance=variance,
            header=inputImage.header.copy(),
            mask=np.logical_or.reduce(masks) if masks else None,
            flags=flags,
        )
        output.data = data
        output.header.add_history(f"Subtract image, spherex SubtractTask, factor {scale:.9g}")
        self._record_statistics(output, scale)
        return pipeBase.Struct(outputImage=output)

    def _check(self, image: SPHERExImage, subtracted: SPHERExImage) -> None:
        if image.shape != subtracted.shape:
            raise ValueError(
                f"The image has shape {image.shape}, but the image to subtract has shape {subtracted.shape}."
            )
        check_unit_and_detector(image, subtracted, "the image", "the one to subtract")
        if (image.variance is None) != (subtracted.variance is None):
            name = "image" if image.variance is None else "image to subtract"
            raise ValueError(f"The {name} has no variance: the variance of the result would be too small.")

    def _scale(self, image: SPHERExImage, subtracted: SPHERExImage) -> float:
        if is_rate(image.unit):
            raise ValueError(f"Images in {image.unit} are rates and cannot be scaled: set scaleByExposureTime=False.")
        return exposure_time_of(image.header, "image") / exposure_time_of(subtracted.header, "image to subtract")

    def _record_statistics(self, image: SPHERExImage, scale: float) -> None:
        from astropy.stats import mad_std

        step = max(1, math.isqrt(image.data.size // _SAMPLE))
        sample = image.data[::step, ::step]
        sample = sample[np.isfinite(sample)]
        median = float(np.median(sample)) if sample.size else math.nan
        spread = float(mad_std(sample)) if sample.size else math.nan
        self.metadata["scale"] = scale
        self.metadata["pixels"] = image.data.size
        self.metadata["sampled_pixels"] = int(sample.size)
        self.metadata["median"] = median
        self.metadata["robust_sigma"] = spread
        if image.flags is not None:
            self.metadata["flagged_pixels"] = int(np.count_nonzero(image.flags))
        self.log.info("Subtracted with factor %.4g: median %.4g, scatter %.4g %s.", scale, median, spread, image.unit)


def _scaled(array: np.ndarray, scale: float) -> np.ndarray:
    array = _floating(array)
    return array if scale == 1.0 else array * array.dtype.type(scale)


def _floating(array: np.ndarray) -> np.ndarray:
    """Return the numbers in a type that has fractions and negative numbers."""
    return array if array.dtype.kind == "f" else array.astype(np.result_type(array, np.float32))


class MissingCalibrationError(PrerequisiteMissingError, click.ClickException):
    """No calibration is valid for some images; the message names them and the remedy.

    ``pipetask`` shows an exception of click without a traceback.
    """


class CalibratedSubtractConnections(SubtractConnections, dimensions=("instrument", "exposure", "detector")):
    """Inputs and outputs of `CalibratedSubtractTask`."""

    subtractImage = cT.PrerequisiteInput(
        doc="Image to subtract, valid at the middle of the exposure.",
        name=COMBINED_DARK_TYPE,
        storageClass="SPHERExImage",
        dimensions=("instrument", "detector"),
        isCalibration=True,
    )

    def __init__(self, *, config: CalibratedSubtractConfig | None = None) -> None:
        super().__init__(config=config)
        # Each pipeline has its own lookup, because a lookup remembers the
        # calibrations of one graph.
        self._lookup = CalibrationLookup()
        self._leaves_out = config is not None and config.leaveOutUncalibrated
        self.subtractImage = dataclasses.replace(self.subtractImage, lookupFunction=self._lookup)

    def adjust_all_quanta(self, adjuster: pipeBase.QuantaAdjuster) -> None:
        """Reject or leave out the quanta without a calibration.

        See `lsst.pipe.base.PipelineTaskConnections.adjust_all_quanta`.

        Raises
        ------
        MissingCalibrationError
            If quanta lack a calibration and ``leaveOutUncalibrated`` is not set.
        """
        missing = self._lookup.finish()
        if not missing:
            return
        explanation = explain_missing(missing)
        if not self._leaves_out:
            raise MissingCalibrationError(
                f"{explanation}\nOr leave such images out: -c {adjuster.task_label}:leaveOutUncalibrated=True"
            )
        for quantum in missing:
            adjuster.remove_quantum(quantum.data_id)
        _LOG.warning("%d images are left out.\n%s", len(missing), explanation)


class CalibratedSubtractConfig(SubtractConfig, pipelineConnections=CalibratedSubtractConnections):
    """Configuration of `CalibratedSubtractTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.

    leaveOutUncalibrated = pexConfig.Field[bool](
        default=False,
        doc="Leave out images without a valid calibration, with a warning that names them. By default such images are "
        "an error.",
    )


class CalibratedSubtractTask(SubtractTask):
    """Subtract the calibration that is valid at the time of the exposure.

    The subtraction is that of `SubtractTask`.
    """

    ConfigClass = CalibratedSubtractConfig
    _DefaultName = "calibratedSubtract"
    config: CalibratedSubtractConfig
