"""Combination of many darks into one dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np

from spherex.detectors import COMBINED_DARK_TYPE, DARK_TYPE
from spherex.headers import time_scale_of

from .clipping import Clipped, clip, find_deviant_pixels, is_robust
from .compatibility import EXPOSURE_TIME, exposure_time_of, is_rate
from .stack import ImageHandle, Stack, open_stack, unpacked

if TYPE_CHECKING:
    from astropy.io.fits import Header

    from spherex.image import FlagPlane, SPHERExImage


_COMMENTARY = ("HISTORY", "COMMENT", "")
_BEGIN, _END = ("DATE-BEG", "MJD-BEG"), ("DATE-END", "MJD-END")


def merged_header(headers: Sequence[Header]) -> Header:
    """Return the cards that all headers share.

    Cards of the celestial WCS are removed, because the result has none. Begin
    and end become those of the first and the last image: the time range of
    the inputs.

    Parameters
    ----------
    headers
        Headers of the images, at least one.
    """
    from spherex.image import replace_celestial_wcs

    first = headers[0]
    merged = first.copy()
    replace_celestial_wcs(merged, None)
    scales = {time_scale_of(header) for header in headers}
    for keyword in dict.fromkeys(merged):
        values = [header.get(keyword) for header in headers]
        if keyword in _BEGIN + _END and len(scales) == 1 and None not in values:
            merged[keyword] = min(values) if keyword in _BEGIN else max(values)
        elif keyword in _BEGIN + _END + _COMMENTARY or any(value != values[0] for value in values):
            merged.remove(keyword, remove_all=True)
    if len(scales) == 1 and "TIMESYS" in first:
        # Headers may write one scale in several ways.
        merged["TIMESYS"] = scales.pop()
    return merged


_HOT, _COLD, _MISSING = "HOT", "COLD", "MISSING_DATA"
_NUMBER_PLANE = "NINPUT"


class CombineDarkConnections(pipeBase.PipelineTaskConnections, dimensions=("instrument", "detector")):
    """Inputs and outputs of `CombineDarkTask`."""

    inputDarks = cT.Input(
        doc="Darks of one detector.",
        name=DARK_TYPE,
        storageClass="SPHERExImage",
        dimensions=("instrument", "exposure", "detector"),
        multiple=True,
        deferLoad=True,
    )
    outputDark = cT.Output(
        doc="Mean of the darks, to be certified for a timespan.",
        name=COMBINED_DARK_TYPE,
        storageClass="SPHERExImage",
        dimensions=("instrument", "detector"),
        isCalibration=True,
    )


class CombineDarkConfig(pipeBase.PipelineTaskConfig, pipelineConnections=CombineDarkConnections):
    """Configuration of `CombineDarkTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.

    clipSigma = pexConfig.RangeField(
        dtype=float,
        default=3.0,
        min=0.0,
        inclusiveMin=False,
        doc="Values farther from the centre than this are left out (standard deviations of the values of a pixel).",
    )
    clipIterations = pexConfig.RangeField(
        dtype=int, default=5, min=1, doc="Largest number of iterations when clipping by std."
    )
    clipSpread = pexConfig.ChoiceField[str](
        doc="Estimate of the standard deviation for the clipping.",
        default="auto",
        allowed={
            "std": "Mean and standard deviation; misses outliers in few images.",
            "mad_std": "Median and median absolute deviation, one iteration; takes three times as long.",
            "auto": "mad_std for fewer than 30 images, else std.",
        },
    )
    spoilingFlags = pexConfig.ListField[str](
        doc="Pixels of an input with one of these flags are left out.",
        default=["TRANSIENT", "OVERFLOW", "SUR_ERROR", "NONFUNC", "MISSING_DATA", "PERSIST", "OUTLIER"],
    )
    varianceFrom = pexConfig.ChoiceField[str](
        doc="Source of the variance of the result.",
        default="inputs",
        allowed={
            "inputs": "The variances of the values that were averaged.",
            "spread": "The scatter of these values; pixels with a single value have no variance and are flagged.",
        },
    )
    scaleCounts = pexConfig.Field[bool](
        default=True,
        doc="Scale images in counts since the begin of the exposure to their median exposure time (XPOSURE). Rates, "
        "such as electron/s, are never scaled.",
    )
    hotThreshold = pexConfig.RangeField(
        dtype=float, default=6.0, min=0.0, doc="Pixels so many robust standard deviations above their column are HOT."
    )
    coldThreshold = pexConfig.RangeField(
        dtype=float, default=6.0, min=0.0, doc="Pixels so many robust standard deviations below their column are COLD."
    )
    deviationWindow = pexConfig.RangeField(
        dtype=int, default=9, min=3, doc="Pixels of a column that hot and cold ones are compared with."
    )
    blockSize = pexConfig.RangeField(
        dtype=int,
        default=14,
        min=1,
        doc="Memory for the pixels of one block of rows of all inputs (MB). More memory makes fewer and larger reads.",
    )


class CombineDarkTask(pipeBase.PipelineTask):
    """Combine darks of one detector by a clipped mean.

    The inputs are read in blocks of rows, each once, so that the memory does
    not grow with their number. Flags of the result are the flags that all
    inputs share, HOT and COLD of pixels that differ from their column, and
    MISSING_DATA of pixels without a good input, whose value and variance are
    NaN. The plane NINPUT has the number of inputs of each mean.
    """

    ConfigClass = CombineDarkConfig
    _DefaultName = "combineDark"
    config: CombineDarkConfig

    def runQuantum(
        self,
        butlerQC: pipeBase.QuantumContext,
        inputRefs: pipeBase.InputQuantizedConnection,
        outputRefs: pipeBase.OutputQuantizedConnection,
    ) -> None:
        """Run on datasets; see `lsst.pipe.base.PipelineTask.runQuantum`."""
        refs = sorted(inputRefs.inputDarks, key=lambda ref: ref.dataId["exposure"])
        outputs = self.run([butlerQC.get(ref) for ref in refs])
        for ref in refs:
            outputs.outputDark.header.add_history(f"[INPUT] {ref.datasetType.name} {ref.dataId['exposure']} {ref.id}")
        butlerQC.put(outputs, outputRefs)

    def run(self, inputDarks: Sequence[ImageHandle]) -> pipeBase.Struct:  # noqa: N803
        """Combine darks.

        Parameters
        ----------
        inputDarks
            Handles of images, such as `lsst.daf.butler.DeferredDatasetHandle`
            or `lsst.pipe.base.InMemoryDatasetHandle`.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``outputDark``, the `~spherex.image.SPHERExImage`.

        Raises
        ------
        ValueError
            If there are no images, if they differ in shape, unit or detector,
            or if a variance or exposure time is needed and missing.
        """
        stack = open_stack(inputDarks, (_HOT, _COLD, _MISSING))
        self._check_variance(stack)
        headers = stack.read_headers()
        times = self._exposure_times(stack, headers)
        reference = float(np.median(times)) if times else None
        scales = [1.0] * len(stack) if reference is None else [reference / time for time in times]
        header = self._header(headers, reference)
        return pipeBase.Struct(outputDark=self._combine(stack, scales, header))

    def _check_variance(self, stack: Stack) -> None:
        if self.config.varianceFrom == "spread":
            if len(stack) == 1:
                raise ValueError(f"One image ({stack.names[0]}) has no spread: set varianceFrom='inputs'.")
        elif names := stack.without_variance():
            raise ValueError(f"These images have no variance: {'; '.join(names)}. Set varianceFrom='spread'.")

    def _exposure_times(self, stack: Stack, headers: Sequence[Header]) -> list[float]:
        """Return the exposure times to scale by; an empty list if the images are not scaled."""
        if is_rate(stack.unit) or not self.config.scaleCounts:
            return []
        return [exposure_time_of(header, f"image {name}") for header, name in zip(headers, stack.names, strict=True)]

    def _combine(self, stack: Stack, scales: Sequence[float], header: Header) -> SPHERExImage:
        from astropy.io import fits

        from spherex.image import FlagPlane, Plane, SPHERExImage

        data = np.empty(stack.shape, stack.dtype)
        variance = np.empty(stack.shape, stack.dtype)
        flags = np.empty(stack.shape, np.int32)
        number = np.empty(stack.shape, np.int16)
        missing = stack.table.bits(_MISSING)
        robust = is_robust(self.config.clipSpread, len(stack))
        grain = max(scales) if stack.is_whole else 0.0
        bands = list(stack.bands(self.config.blockSize * 10**6))
        # One array for all blocks: if each had its own, freed memory would be in pieces.
        begin, end = bands[0][0]
        block = np.empty((len(stack), end - begin, stack.shape[1]), stack.dtype)
        for blocks in bands:
            first, last = blocks[0][0], blocks[-1][1]
            flags[first:last], left_out = stack.read_flags(first, last, self.config.spoilingFlags)
            for begin, end in blocks:
                rows, outs = slice(begin, end), left_out[:, begin - first : end - first]
                pixels = block[:, : end - begin]
                stack.read_pixels(begin, end, scales, outs, pixels)
                clipped = clip(pixels, self.config.clipSigma, self.config.clipIterations, robust, grain)
                data[rows], number[rows] = clipped.mean, clipped.number
                if self.config.varianceFrom == "spread":
                    variance[rows] = _variance_of_spread(clipped)
                else:
                    for out, values in zip(outs, pixels, strict=True):
                        out[...] = np.packbits(~np.isfinite(values), axis=-1)
            if self.config.varianceFrom == "inputs":
                variance[first:last] = _variance_of_inputs(stack, scales, left_out, number[first:last], first)
        del block, pixels, clipped, left_out
        unknown = ~(np.isfinite(data) & np.isfinite(variance))
        data[number == 0] = np.nan
        flags[unknown] |= missing
        plane = FlagPlane(flags, stack.table)
        self._flag_deviant_pixels(data, plane)
        self._record_statistics(number, plane, len(stack))
        return SPHERExImage(
            data,
            unit=stack.unit,
            variance=variance,
            flags=plane,
            header=header,
            planes={_NUMBER_PLANE: Plane(fits.ImageHDU(number, name=_NUMBER_PLANE))},
        )

    def _header(self, headers: Sequence[Header], reference: float | None) -> Header:
        header = merged_header(headers)
        config = self.config
        header["NCOMBINE"] = (len(headers), "Number of images that were combined")
        header["CLIPSIG"] = (config.clipSigma, "Values beyond so many sigma are left out")
        robust = is_robust(config.clipSpread, len(headers))
        header["CLIPSTD"] = ("mad_std" if robust else "std", "How the sigma of the clipping is estimated")
        header["VARFROM"] = (config.varianceFrom, "What the variance comes from")
        header["TSCALED"] = (reference is not None, "Scaled to one exposure time")
        if reference is not None:
            header[EXPOSURE_TIME] = (reference, "[s] Exposure time that counts are scaled to")
        header.add_history(f"Clipped mean of {len(headers)} images, spherex CombineDarkTask")
        return header

    def _flag_deviant_pixels(self, data: np.ndarray, flags: FlagPlane) -> None:
        config = self.config
        found = find_deviant_pixels(data, config.hotThreshold, config.coldThreshold, config.deviationWindow)
        flags.array[found.hot] |= flags.table.bits(_HOT)
        flags.array[found.cold] |= flags.table.bits(_COLD)
        self.metadata["hot_pixels"] = int(np.count_nonzero(found.hot))
        self.metadata["cold_pixels"] = int(np.count_nonzero(found.cold))
        self.metadata["robust_sigma"] = found.sigma

    def _record_statistics(self, number: np.ndarray, flags: FlagPlane, inputs: int) -> None:
        bits = flags.table.bits(_MISSING)
        # Row by row, because the memory of the process is largest here.
        missing = sum(int(np.count_nonzero(row & bits)) for row in flags.array)
        self.metadata["inputs"] = inputs
        self.metadata["left_out"] = inputs * number.size - int(number.sum(dtype=np.int64))
        self.metadata["missing_pixels"] = missing
        self.log.info(
            "Combined %d images: %.3g %% of the values left out; %d hot, %d cold and %d pixels without a good value.",
            inputs,
            100 * self.metadata["left_out"] / (inputs * number.size),
            self.metadata["hot_pixels"],
            self.metadata["cold_pixels"],
            missing,
        )


def _variance_of_spread(clipped: Clipped) -> np.ndarray:
    """Return the variance of the mean of n values from their scatter: sum((value - mean)^2) / (n - 1) / n."""
    number = clipped.number.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = clipped.squares / (number - 1) / number
    variance[clipped.number < 2] = np.nan
    return variance


def _variance_of_inputs(
    stack: Stack, scales: Sequence[float], left_out: np.ndarray, number: np.ndarray, begin: int
) -> np.ndarray:
    """Return the variance of the mean of n values from their variances: sum(variance) / n^2.

    An unknown variance counts as the mean of the known ones, so that with m of
    them known the result is sum(variance) / m / n.
    """
    total = np.zeros(number.shape)
    known = number.copy()
    variances = stack.read_variances(begin, begin + len(number))
    for out, scale, variance in zip(left_out, scales, variances, strict=True):
        variance = np.where(unpacked(out, number.shape[1]), 0, variance)
        if not (variance.min() >= 0 and np.isfinite(variance.max())):
            unknown = ~(np.isfinite(variance) & (variance >= 0))
            variance[unknown] = 0
            known -= unknown
        total += variance if scale == 1.0 else variance * scale**2
    with np.errstate(invalid="ignore", divide="ignore"):
        total /= known
        total /= number
    return total
