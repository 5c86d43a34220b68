"""Subtraction of one image from another."""

from __future__ import annotations

__all__ = ["SubtractConfig", "SubtractConnections", "SubtractTask"]

import math
from typing import TYPE_CHECKING

import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np

from ._cards import detector_of, exposure_time_of, is_rate

if TYPE_CHECKING:
    from ..image import SPHERExImage

_DIMENSIONS = ("instrument", "exposure", "detector")
# Enough pixels for a median good to a thousandth of the noise, few enough not
# to cost more than the subtraction.
_SAMPLE = 2**16


class SubtractConnections(pipeBase.PipelineTaskConnections, dimensions=_DIMENSIONS):
    """What `SubtractTask` reads and writes."""

    inputImage = cT.Input(
        doc="Image to subtract from.", name="rawexp", storageClass="SPHERExImage", dimensions=_DIMENSIONS
    )
    subtractImage = cT.Input(doc="Image to subtract.", name="dark", storageClass="SPHERExImage", dimensions=_DIMENSIONS)
    outputImage = cT.Output(doc="The difference.", name="postDark", storageClass="SPHERExImage", dimensions=_DIMENSIONS)


class SubtractConfig(pipeBase.PipelineTaskConfig, pipelineConnections=SubtractConnections):
    """Configuration of `SubtractTask`."""

    scaleByExposureTime = pexConfig.Field[bool](
        default=False,
        doc="Multiply the image to subtract by the ratio of the exposure times (XPOSURE cards) first. For images that "
        "count since the exposure began, not for rates such as electron/s.",
    )


class SubtractTask(pipeBase.PipelineTask):
    """Subtract one image from another of the same detector, such as a dark.

    Variances are added, flags joined. Header, WCS and further planes are those
    of the input image.
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
        # The same form in which the SPHEREx pipelines name their calibrations.
        outputs.outputImage.header.add_history(f"[CALIB] {subtracted.datasetType.name} {subtracted.id}")
        butlerQC.put(outputs, outputRefs)

    def run(self, inputImage: SPHERExImage, subtractImage: SPHERExImage) -> pipeBase.Struct:  # noqa: N803
        """Subtract.

        Parameters
        ----------
        inputImage
            Image to subtract from. The result takes over its arrays and
            header and overwrites them, which saves half of the time.
        subtractImage
            Image to subtract; left as it is.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``outputImage``, the difference.

        Raises
        ------
        ValueError
            If the two differ in shape, unit or detector, if only one of them
            has a variance, or if exposure times are wanted and unknown.
        """
        from ..image import FlagPlane, SPHERExImage

        self._check(inputImage, subtractImage)
        scale = self._scale(inputImage, subtractImage) if self.config.scaleByExposureTime else 1.0
        flags = inputImage.flag_plane
        others = subtractImage.flag_plane
        if others is not None:
            flags = (
                FlagPlane(others.array.copy(), others.table) if flags is None else flags.combined(others, flags.array)
            )
        data = _in_place(np.subtract, inputImage.data, _scaled(subtractImage.data, scale))
        variance = inputImage.variance
        if variance is not None and subtractImage.variance is not None:
            variance = _in_place(np.add, variance, _scaled(subtractImage.variance, scale**2))
        masks = [one.mask for one in (inputImage, subtractImage) if one.mask is not None]
        output = SPHERExImage(
            inputImage,
            variance=variance,
            mask=np.logical_or.reduce(masks) if masks else None,
            flags=flags,
        )
        output.data = data
        output.header.add_history(f"Subtract image, spherex SubtractTask, factor {scale:.9g}")
        self._record_statistics(output, scale)
        return pipeBase.Struct(outputImage=output)

    def _check(self, image: SPHERExImage, other: SPHERExImage) -> None:
        if image.shape != other.shape:
            raise ValueError(f"The image has shape {image.shape}, the one to subtract {other.shape}.")
        if image.unit != other.unit:
            raise ValueError(f"The image is in {image.unit}, the one to subtract in {other.unit}.")
        detectors = [detector_of(one.header) for one in (image, other)]
        if None not in detectors and detectors[0] != detectors[1]:
            raise ValueError(
                f"The image is of detector {detectors[0]}, the one to subtract of detector {detectors[1]}."
            )
        if (image.variance is None) != (other.variance is None):
            lacking = "image" if image.variance is None else "image to subtract"
            raise ValueError(f"The {lacking} has no variance: that of the result would be too small.")

    def _scale(self, image: SPHERExImage, other: SPHERExImage) -> float:
        if is_rate(image.unit):
            raise ValueError(
                f"Images in {image.unit} are rates, which exposure times do not scale: set scaleByExposureTime=False."
            )
        return exposure_time_of(image.header, "image") / exposure_time_of(other.header, "image to subtract")

    def _record_statistics(self, image: SPHERExImage, scale: float) -> None:
        step = max(1, math.isqrt(image.data.size // _SAMPLE))
        sample = image.data[::step, ::step]
        sample = sample[np.isfinite(sample)]
        median = float(np.median(sample)) if sample.size else math.nan
        spread = 1.4826 * float(np.median(np.abs(sample - median))) if sample.size else math.nan
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
    """Return numbers that can be scaled and become negative."""
    return array if array.dtype.kind == "f" else array.astype(np.result_type(array, np.float32))


def _in_place(operation: np.ufunc, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Apply an operation, into the memory of its first operand if that fits."""
    first = _floating(first)
    fits = first.flags.writeable and first.dtype == np.result_type(first, second)
    return operation(first, second, out=first if fits else None)
