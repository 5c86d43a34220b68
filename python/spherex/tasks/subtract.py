"""Subtraction of one image from another, or of the calibration that is valid then."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np
from lsst.pipe.base.quantum_graph_builder import PrerequisiteMissingError

from spherex.calibrations import CalibrationLookup, explain_missing
from spherex.detectors import COMBINED_DARK_TYPE, DARK_TYPE, RAW_TYPE
from spherex.headers import number_of

if TYPE_CHECKING:
    from astropy.units import UnitBase

    from spherex.image import SPHERExImage


EXPOSURE_TIME = "XPOSURE"
DETECTOR = "DETECTOR"

_FLUXES = ("Jy", "Jy/sr", "W", "W/m2", "W/(m2 sr)", "W/(m2 um)", "W/(m2 um sr)")
"""Units that contain a power, which is one per time, too."""


def detector_of(header: Mapping[str, Any]) -> str | None:
    """Return the detector of an image as text, since some headers have it as a number; `None` if they have none."""
    detector = header.get(DETECTOR)
    return None if detector is None else str(detector).strip()


def is_rate(unit: UnitBase) -> bool:
    """Return whether a unit is one per time, such as electron/s or MJy/sr, which exposure times do not scale."""
    is_per_time = any(
        base.physical_type == "time" and power < 0 for base, power in zip(unit.bases, unit.powers, strict=True)
    )
    return is_per_time or any(unit.is_equivalent(flux) for flux in _FLUXES)


def exposure_time_of(header: Mapping[str, Any], name: str) -> float:
    """Return the exposure time of an image (s).

    Parameters
    ----------
    header
        Header of the image.
    name
        What the image is called in the message.

    Raises
    ------
    ValueError
        If the header has no exposure time that something can be scaled by.
    """
    time = number_of(header, EXPOSURE_TIME, where=f"(exposure time of the {name})")
    if time is None or time <= 0:
        raise ValueError(f"The exposure time ({EXPOSURE_TIME}) of the {name} is {time!r}: cannot scale by it.")
    return time


_DIMENSIONS = ("instrument", "exposure", "detector")
# Enough pixels for a median good to a thousandth of the noise, few enough not
# to cost more than the subtraction.
_SAMPLE = 2**16


class SubtractConnections(pipeBase.PipelineTaskConnections, dimensions=_DIMENSIONS):
    """What `SubtractTask` reads and writes."""

    inputImage = cT.Input(
        doc="Image to subtract from.", name=RAW_TYPE, storageClass="SPHERExImage", dimensions=_DIMENSIONS
    )
    subtractImage = cT.Input(
        doc="Image to subtract.", name=DARK_TYPE, storageClass="SPHERExImage", dimensions=_DIMENSIONS
    )
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
        from spherex.image import FlagPlane, SPHERExImage

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


_LOG = logging.getLogger(__name__)


class MissingCalibrationError(PrerequisiteMissingError, click.ClickException):
    """Images have no calibration; the message says which, and what to do.

    Of an exception of click, ``pipetask`` shows the message alone, of others a
    traceback too.
    """


class CalibratedSubtractConnections(SubtractConnections, dimensions=("instrument", "exposure", "detector")):
    """What `CalibratedSubtractTask` reads and writes."""

    subtractImage = cT.PrerequisiteInput(
        doc="Image to subtract, valid at the middle of the exposure.",
        name=COMBINED_DARK_TYPE,
        storageClass="SPHERExImage",
        dimensions=("instrument", "detector"),
        isCalibration=True,
    )

    def __init__(self, *, config: CalibratedSubtractConfig | None = None) -> None:
        super().__init__(config=config)
        # Each pipeline has a lookup of its own, so that none sees what
        # another one has read.
        self._lookup = CalibrationLookup()
        self._leaves_out = config is not None and config.leaveOutUncalibrated
        self.subtractImage = dataclasses.replace(self.subtractImage, lookupFunction=self._lookup)

    def adjust_all_quanta(self, adjuster: pipeBase.QuantaAdjuster) -> None:
        """Refuse, or leave out, what has no calibration.

        See `lsst.pipe.base.PipelineTaskConnections.adjust_all_quanta`.

        Raises
        ------
        MissingCalibrationError
            If there is any and it is not to be left out.
        """
        missing = self._lookup.finish()
        if not missing:
            return
        explanation = explain_missing(missing)
        if not self._leaves_out:
            raise MissingCalibrationError(
                f"{explanation}\nOr leave such images out: -c {adjuster.task_label}:leaveOutUncalibrated=True"
            )
        for one in missing:
            adjuster.remove_quantum(one.data_id)
        _LOG.warning("%d images are left out.\n%s", len(missing), explanation)


class CalibratedSubtractConfig(SubtractConfig, pipelineConnections=CalibratedSubtractConnections):
    """Configuration of `CalibratedSubtractTask`."""

    leaveOutUncalibrated = pexConfig.Field[bool](
        default=False,
        doc="Leave out images for which there is no calibration, with a warning that names them. Otherwise there is "
        "no graph until all have one.",
    )


class CalibratedSubtractTask(SubtractTask):
    """Subtract the calibration that is valid at the time of the exposure.

    It does what `SubtractTask` does; only the search for the image to subtract
    differs.
    """

    ConfigClass = CalibratedSubtractConfig
    _DefaultName = "calibratedSubtract"
    config: CalibratedSubtractConfig
