"""Fluxes of the targets of a catalogue in one image.

The task reads the image and the calibrations through handles of the Butler.
`spherex.spectra.measure_targets` makes the rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np
from cachetools import cached
from lsst.daf.butler import DeferredDatasetHandle, FileIntegrityError

from spherex.calibrations import CalibrationLookup
from spherex.detectors import (
    AVERAGE_PSF_TYPE,
    CATALOG_TYPE,
    DETECTORS,
    EPSF_TYPE,
    ERROR_SCALE_TYPE,
    FLUX_CORRECTIONS_TYPE,
    LEVEL2_TYPE,
    MEASUREMENTS_TYPE,
    PATCH_TARGETS_TYPE,
    SOLID_ANGLE_TYPE,
    SPECTRAL_WCS_TYPE,
)
from spherex.errors import ProductError, RemoteError, UserError, counted, first_line, listed, short_cause

from .caching import DatasetCache, dataset_key, repository_key
from .patches import warn_of_missing_images

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import Table
    from astropy.units import UnitBase
    from lsst.daf.butler import DataCoordinate
    from lsst.sphgeom import Region
    from numpy.typing import NDArray

    from spherex.image import Box, PlaneWavelengths, SPHERExImage, Wavelength
    from spherex.photometry import Profiles
    from spherex.spectra import Calibrations, ErrorScale, MeasureSettings


_LOG = logging.getLogger(__name__)
_DIMENSIONS = ("instrument", "exposure", "detector")
_PSF_TYPES = (EPSF_TYPE, AVERAGE_PSF_TYPE)


_WITHOUT_CALIBRATION = {
    "spectralWcs": "the wavelengths of the images are used",
    "solidAngles": "the median solid angles of the images are used",
    "psf": "the PSFs of the images are used",
    "fluxCorrections": "their fluxes are not corrected",
    "errorScale": "their errors are not scaled",
}
"""What happens without a calibration, by connection."""


def uncalibrated_line(connection: str, dataset_type: str, missing: int, images: int) -> str:
    """Return a sentence on images for which no calibration is valid.

    Parameters
    ----------
    connection, dataset_type
        Names of the connection and of the dataset type of the calibration.
    missing, images
        Numbers of these images, and of all.
    """
    line = f"No {dataset_type} is valid for {missing} of {counted(images, 'image')}"
    return f"{line}: {_WITHOUT_CALIBRATION[connection]}." if connection in _WITHOUT_CALIBRATION else f"{line}."


class LostImageError(pipeBase.UnprocessableDataError):
    """The pixels of an image could not be read, so that its rows have no fluxes.

    All outputs are written. `pipetask report` counts the quantum among those
    with the caveat "unprocessable data".
    """


class DeferredImage:
    """Image whose parts are read through a handle.

    Parameters
    ----------
    handle
        Handle such as `lsst.daf.butler.DeferredDatasetHandle`.

    Attributes
    ----------
    problems
        What was wrong with the parts that could not be read, with the URIs of
        the files.
    is_lost
        Whether the header or pixels were among these parts.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._header: Header | None = None
        self.problems: list[str] = []
        self.is_lost = False

    def _get(self, **arguments: Any) -> Any:
        """Read a part; raise `ProductError` if the file is missing or damaged."""
        try:
            return self._handle.get(**arguments)
        except FileNotFoundError as error:
            raise self._lost("its file is gone", error) from error
        except FileIntegrityError as error:
            raise self._lost("its file has another size than at the ingest", error) from error
        except ValueError as error:
            # The Butler wraps the errors of a formatter. Without access to a
            # server, all images would be marked as bad.
            cause = error.__cause__
            if isinstance(cause, UserError) and not isinstance(cause, RemoteError):
                raise self._lost(short_cause(cause), cause) from cause
            raise

    def _lost(self, what: str, error: Exception) -> ProductError:
        problem = first_line(error)
        if problem not in self.problems:
            self.problems.append(problem)
        return ProductError(what)

    @contextlib.contextmanager
    def _needed(self) -> Iterator[None]:
        try:
            yield
        except ProductError:
            self.is_lost = True
            raise

    def header(self) -> Header:
        """Return the header of the whole image."""
        if self._header is None:
            with self._needed():
                self._header = self._get(component="header")
        return self._header

    def read(self, box: Box) -> SPHERExImage:
        """Return a part of the image, without further planes."""
        with self._needed():
            image: SPHERExImage = self._get(parameters={"box": box, "planes": []})
        return image

    def wavelength(self) -> Wavelength:
        """Return the wavelength solution of the whole image."""
        solution: Wavelength = self._get(component="wavelength")
        return solution

    def profiles(self) -> tuple[Profiles, str]:
        """Return the PSF of the image, and its origin.

        All images of a detector have the same PSF. The header names the
        calibration that it was copied from, so that it is read once for all.
        """
        from spherex.archive import calibration_references

        references = {
            reference.type: reference.id for reference in calibration_references(self.header().get("HISTORY", ()))
        }
        for name in _PSF_TYPES:
            if name in references:
                return self._shared_profiles(references[name]), f"image, {name} {references[name]}"
        return self._read_profiles(), "image"

    @cached(DatasetCache(2 * len(DETECTORS)), key=lambda self, id_: (repository_key(self._handle), id_))
    def _shared_profiles(self, calibration_id: Any) -> Profiles:
        return self._read_profiles()

    def _read_profiles(self) -> Profiles:
        from spherex.photometry import Profiles

        try:
            return Profiles(self._get(component="psf"))
        except ProductError:
            raise
        except ValueError as error:
            if isinstance(error.__cause__, OSError):
                raise
            raise ProductError(f"the PSF of the image cannot be used: {error}") from error


# A process reads each catalogue and calibration once. The sizes are enough for
# two catalogues, and for two periods of validity of all detectors.


@cached(DatasetCache(2), key=dataset_key)
def read_catalog(handle: Any) -> Table:
    """Read a catalogue of targets."""
    catalog: Table = handle.get()
    return catalog


@cached(DatasetCache(2 * len(DETECTORS)), key=dataset_key)
def _read_map(handle: Any, unit: UnitBase) -> NDArray[np.floating]:
    from spherex.spectra import read_map

    return read_map(handle.get(), handle.ref.datasetType.name, unit)


@cached(DatasetCache(len(DETECTORS)), key=dataset_key)
def _read_wavelengths(handle: Any) -> PlaneWavelengths | Wavelength:
    from spherex.image import wavelengths_in

    return wavelengths_in(handle.get())


@cached(DatasetCache(2 * len(DETECTORS)), key=dataset_key)
def _read_psf(handle: Any) -> Profiles:
    from spherex.spectra import read_profiles

    return read_profiles(handle.get(), handle.ref.datasetType.name)


@cached(DatasetCache(2 * len(DETECTORS)), key=dataset_key)
def _read_error_scale(handle: Any) -> ErrorScale:
    from spherex.spectra import ErrorScale

    return ErrorScale(handle.get())


def _calibration(name: str, storage_class: str, doc: str) -> cT.PrerequisiteInput:
    return cT.PrerequisiteInput(
        doc=doc,
        name=name,
        storageClass=storage_class,
        dimensions=("instrument", "detector"),
        isCalibration=True,
        deferLoad=True,
        minimum=0,
    )


class ImageTargetsConnections(pipeBase.PipelineTaskConnections, dimensions=(*_DIMENSIONS, "catalog")):
    """Inputs of a task that needs an image, a catalogue, and the calibrations of fluxes."""

    _if_gone = ""
    """Advice for an image whose file is gone."""

    image = cT.Input(
        doc="The image.", name=LEVEL2_TYPE, storageClass="SPHERExImage", dimensions=_DIMENSIONS, deferLoad=True
    )
    targets = cT.Input(
        doc="Targets with their positions and proper motions.",
        name=CATALOG_TYPE,
        storageClass="AstropyParquet",
        dimensions=("catalog",),
        deferLoad=True,
    )
    # Not read: it restricts the quanta to images with targets, whatever other tasks a pipeline has.
    patchTargets = cT.Input(
        doc="Targets of the patches on the image.",
        name=PATCH_TARGETS_TYPE,
        storageClass="AstropyParquet",
        dimensions=("catalog", "patch"),
        multiple=True,
        deferLoad=True,
    )
    solidAngles = _calibration(
        SOLID_ANGLE_TYPE, "CCDData", "Solid angles of all pixels; without it, the median of the image is used."
    )
    psf = _calibration(EPSF_TYPE, "AstropyHDUList", "PSF, see psfSource; without it, that of the image is used.")
    fluxCorrections = _calibration(
        FLUX_CORRECTIONS_TYPE, "CCDData", "Factors for images of the mission's pipeline before version 7."
    )

    def __init__(self, *, config: ImageTargetsConfig | None = None) -> None:
        super().__init__(config=config)
        self._is_psf_spare = config is None or config.is_psf_spare
        if config is not None and config.psfSource == "image":
            del self.psf
        if config is None or not config.correctGains:
            del self.fluxCorrections
        self._lookups = {name: CalibrationLookup() for name in self.prerequisiteInputs}
        for name, lookup in self._lookups.items():
            setattr(self, name, dataclasses.replace(getattr(self, name), lookupFunction=lookup))

    def adjustQuantum(self, inputs: Any, outputs: Any, label: str, data_id: DataCoordinate) -> Any:  # noqa: N802
        """Warn of an image that is left out because its file is gone.

        See `lsst.pipe.base.PipelineTaskConnections.adjustQuantum`.
        """
        if not inputs["image"][1]:
            _LOG.warning(
                "The file of %s of exposure %s, detector %s is gone: it is left out.%s",
                self.image.name,
                data_id["exposure"],
                data_id["detector"],
                self._if_gone,
            )
        return super().adjustQuantum(inputs, outputs, label, data_id)

    def adjust_all_quanta(self, adjuster: pipeBase.QuantaAdjuster) -> None:
        """Warn of missing calibrations.

        See `lsst.pipe.base.PipelineTaskConnections.adjust_all_quanta`.
        """
        for name, lookup in self._lookups.items():
            missing = _number_of_images(quantum.data_id for quantum in lookup.finish())
            # An image with a PSF of its own needs none; measurements without any are marked.
            if missing and not (name == "psf" and self._is_psf_spare):
                images = _number_of_images(adjuster.iter_data_ids())
                _LOG.warning("%s", uncalibrated_line(name, getattr(self, name).name, missing, images))


def _number_of_images(data_ids: Iterable[DataCoordinate]) -> int:
    """Return the number of images of quanta: an image has a quantum for each catalogue."""
    return len({tuple(data_id[name] for name in _DIMENSIONS) for data_id in data_ids})


def image_ids_of(input_refs: pipeBase.InputQuantizedConnection) -> dict[str, Any]:
    """Return the values of the columns that identify image and catalogue, of a task with `ImageTargetsConnections`."""
    image = input_refs.image
    return {
        "exposure": image.dataId["exposure"],
        "detector": image.dataId["detector"],
        "image_id": str(image.id),
        "image_run": image.run,
        "catalog_id": str(input_refs.targets.id),
    }


class ImageTargetsConfig(pipeBase.PipelineTaskConfig, pipelineConnections=ImageTargetsConnections):
    """Choice of the calibrations of fluxes."""

    psfSource = pexConfig.ChoiceField[str](
        doc="Source of the PSF.",
        allowed={
            "automatic": "The image, and the calibration of connection psf for images without a PSF of their own.",
            "image": "The image.",
            "calibration": "The calibration of connection psf, and the image where there is none.",
        },
        default="automatic",
    )
    correctGains = pexConfig.Field[bool](
        default=False,
        doc="Multiply images of the mission's pipeline before version 7 by the calibration of connection "
        "fluxCorrections. Uncorrected fluxes must not be averaged with those of later versions.",
    )

    @property
    def is_psf_spare(self) -> bool:
        """Whether the calibration of connection psf serves only images without a PSF of their own."""
        return bool(self.psfSource == "automatic")


class MeasureTargetsConnections(ImageTargetsConnections, dimensions=(*_DIMENSIONS, "catalog")):
    """Inputs and outputs of `MeasureTargetsTask`."""

    _if_gone = " With --qgraph-datastore-records its targets have rows with this reason."

    spectralWcs = _calibration(
        SPECTRAL_WCS_TYPE, "AstropyHDUList", "Wavelengths of all pixels; without it, those of the image are used."
    )
    errorScale = _calibration(
        ERROR_SCALE_TYPE, "AstropyQTable", "Factors for the errors of fluxes; without it, errors are not scaled."
    )
    measurements = cT.Output(
        doc="A row for each target on the image.",
        name=MEASUREMENTS_TYPE,
        storageClass="AstropyParquet",
        dimensions=(*_DIMENSIONS, "catalog"),
    )

    def __init__(self, *, config: MeasureTargetsConfig | None = None) -> None:
        super().__init__(config=config)
        if config is None or not config.scaleErrors:
            del self.errorScale, self._lookups["errorScale"]

    def adjust_all_quanta(self, adjuster: pipeBase.QuantaAdjuster) -> None:
        """Warn of missing calibrations, and of patches in which some targets lack images.

        See `lsst.pipe.base.PipelineTaskConnections.adjust_all_quanta`.
        """
        super().adjust_all_quanta(adjuster)
        used: dict[DataCoordinate, set[DataCoordinate]] = defaultdict(set)
        for data_id in adjuster.iter_data_ids():
            for patch in adjuster.get_inputs(data_id)["patchTargets"]:
                used[patch].add(data_id)
        warn_of_missing_images(adjuster.butler, self.image.name, used)


class MeasureTargetsConfig(ImageTargetsConfig, pipelineConnections=MeasureTargetsConnections):
    """Configuration of `MeasureTargetsTask`."""

    __module__ = "spherex.tasks"  # Repositories record the class by this name.

    side = pexConfig.RangeField(
        dtype=int, default=15, min=7, max=101, doc="Side of the square of pixels around a target (pixels), odd."
    )
    core = pexConfig.RangeField(
        dtype=float, default=2.5, min=0.0, doc="Radius around a target in which doubtful pixels are used (pixels)."
    )
    aperture = pexConfig.RangeField(
        dtype=float, default=2.0, min=0.0, inclusiveMin=False, doc="Radius of the aperture (pixels)."
    )
    mostMasked = pexConfig.RangeField(
        dtype=float,
        default=0.5,
        min=0.0,
        max=1.0,
        doc="Largest fraction of the PSF on bad pixels; with a larger fraction there is no flux.",
    )
    leastBackground = pexConfig.RangeField(
        dtype=int,
        default=20,
        min=1,
        doc="Least number of pixels for the background; with fewer, doubtful pixels are used, too, after clipping.",
    )
    badFlags = pexConfig.ListField[str](
        default=["fit"],
        doc="Pixels with one of these flags are not used: names of flags and of presets. Flags that an image does not "
        "have are ignored.",
    )
    suspectFlags = pexConfig.ListField[str](
        default=["suspect"],
        doc="The same for pixels that are used only in the core of a bright source with the shape of the PSF. A flag "
        "that is also among badFlags is suspect.",
    )
    doubtfulFlags = pexConfig.ListField[str](
        default=["background"], doc="The same for pixels that are not used for the background."
    )
    scaleErrors = pexConfig.Field[bool](
        default=False,
        doc="Multiply errors by the calibration of connection errorScale. Measurements without a scale keep their "
        "errors; their error_scale is NaN.",
    )
    barycentric = pexConfig.Field[bool](default=False, doc="Add times at the barycentre of the solar system.")

    def validate(self) -> None:
        """Check the configuration; see `lsst.pex.config.Config.validate`."""
        super().validate()
        if self.side % 2 == 0:
            raise pexConfig.FieldValidationError(
                self._fields["side"], self, f"The side of the square must be odd, not {self.side}."
            )
        from spherex.image import check_flag_names

        for field in ("badFlags", "suspectFlags", "doubtfulFlags"):
            try:
                check_flag_names(getattr(self, field))
            except ValueError as error:
                raise pexConfig.FieldValidationError(self._fields[field], self, str(error)) from None


class MeasureTargetsTask(pipeBase.PipelineTask):
    """Measure all targets of a catalogue in one image.

    An image that cannot be read or measured has rows with the reason, so that
    the spectra of its targets lack no more than this image.
    """

    ConfigClass = MeasureTargetsConfig
    _DefaultName = "measureTargets"
    config: MeasureTargetsConfig

    def runQuantum(
        self,
        butlerQC: pipeBase.QuantumContext,
        inputRefs: pipeBase.InputQuantizedConnection,
        outputRefs: pipeBase.OutputQuantizedConnection,
    ) -> None:
        """Run on datasets; see `lsst.pipe.base.PipelineTask.runQuantum`."""
        # The Butler looks up the file of each dataset that it is asked for, and there may be dozens of patches. The
        # other inputs beside the image are read once for all images: they get handles without a look-up.
        del inputRefs.patchTargets
        connections: Any = inputRefs
        refs = {name: ref.datasetRef for name, ref in connections}
        for ref in refs.values():
            butlerQC.dataset_provenance.add_input(ref)
        image = butlerQC.get(inputRefs.image)
        inputs: dict[str, Any] = {
            name: DeferredDatasetHandle(image.butler, ref, parameters=None, storageClass=None)
            for name, ref in refs.items()
        }
        inputs |= {"image": image, "targets": read_catalog(inputs["targets"])}
        outputs = self.run(**inputs, image_ids=image_ids_of(inputRefs), region=inputRefs.image.dataId.region)
        butlerQC.put(outputs, outputRefs)
        if outputs.is_lost:
            raise LostImageError("Targets of the image have rows with the reason, and no fluxes")

    def run(
        self,
        image: Any,
        targets: Table,
        *,
        image_ids: Mapping[str, Any],
        region: Region | None = None,
        spectralWcs: Any = None,  # noqa: N803
        solidAngles: Any = None,  # noqa: N803
        psf: Any = None,
        fluxCorrections: Any = None,  # noqa: N803
        errorScale: Any = None,  # noqa: N803
    ) -> pipeBase.Struct:
        """Measure the targets in an image.

        Parameters
        ----------
        image
            Handle of the image, such as `lsst.daf.butler.DeferredDatasetHandle`.
        targets
            The catalogue.
        image_ids
            Values of the columns that identify the image.
        region
            Region of the image on the sky. It selects the targets if the image
            cannot be read; by default all.
        spectralWcs, solidAngles, psf, fluxCorrections, errorScale
            Handles of calibrations; `None` without a calibration.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``measurements``, an `astropy.table.Table`; without rows if no
            target is on the image. ``is_lost``, whether pixels of the image
            could not be read.
        """
        from spherex.spectra import diagnose, make_plain_table, measure_targets

        # A calibration that cannot be read fails the quantum: the image is not bad.
        calibrations = read_calibrations(
            spectralWcs, solidAngles, psf, fluxCorrections, errorScale, is_psf_spare=self.config.is_psf_spare
        )
        source = DeferredImage(image)
        try:
            table = measure_targets(source, targets, image_ids, calibrations, self._settings())
        except ProductError as error:
            table = self._failed(targets, image_ids, region, short_cause(error))
            if not source.problems:
                source.problems.append(first_line(error))
        if table is None:
            # An empty table is written, too: it shows that the image was measured.
            table = make_plain_table({}, 0)
        failed = int(np.count_nonzero(table["reason"] != ""))
        self.metadata["targets"] = len(table)
        self.metadata["failed"] = failed
        if failed == len(table) > 0:
            self.log.warning(
                "Exposure %s, detector %s has no flux of %s: %s",
                image_ids["exposure"],
                image_ids["detector"],
                listed(table["target"].tolist(), most=3),
                table["reason"][0],
            )
        for problem in source.problems:
            self.log.warning("Exposure %s, detector %s: %s.", image_ids["exposure"], image_ids["detector"], problem)
        if source.problems:
            self.metadata["problems"] = source.problems
        if self.config.scaleErrors and (
            kept := int(np.count_nonzero(np.isnan(table["error_scale"]) & (table["reason"] == "")))
        ):
            self.log.warning(
                "There is no error_scale for %d of %d fluxes: they keep their errors.", kept, len(table) - failed
            )
        found = diagnose(table)
        self.metadata["good"] = int(np.count_nonzero(table["good"]))
        # Metadata are JSON, which has no NaN.
        for name, value in dataclasses.asdict(found).items():
            self.metadata[name] = value if np.isfinite(value) else "unknown"
        for text in found.warnings():
            self.log.warning("Exposure %s, detector %s: %s.", image_ids["exposure"], image_ids["detector"], text)
        self.log.info("Measured %d targets, %d of them without a flux.", len(table), failed)
        return pipeBase.Struct(measurements=table, is_lost=source.is_lost)

    def _settings(self) -> MeasureSettings:
        from spherex.photometry import FluxSettings
        from spherex.spectra import MeasureSettings

        config = self.config
        return MeasureSettings(
            fluxes=FluxSettings(config.side, config.core, config.aperture, config.mostMasked, config.leastBackground),
            bad_flags=tuple(config.badFlags),
            suspect_flags=tuple(config.suspectFlags),
            doubtful_flags=tuple(config.doubtfulFlags),
            is_barycentric=config.barycentric,
        )

    def _failed(self, targets: Table, image_ids: Mapping[str, Any], region: Region | None, reason: str) -> Table | None:
        from spherex.spectra import failed_table

        names = np.asarray(targets["name"], dtype=str)
        if region is not None:
            ra, dec = (np.radians(np.asarray(targets[name], dtype=float)) for name in ("ra", "dec"))
            names = names[np.asarray(region.contains(ra, dec))]
        return failed_table(names, image_ids, reason) if len(names) else None


def read_calibrations(
    spectral_wcs: Any, solid_angles: Any, psf: Any, gains: Any, error_scale: Any = None, *, is_psf_spare: bool = False
) -> Calibrations:
    """Read calibrations.

    Parameters
    ----------
    spectral_wcs, solid_angles, psf, gains, error_scale
        Handles of the calibrations; `None` without a calibration.
    is_psf_spare
        Whether the PSF serves only images without one.
    """
    from astropy.units import arcsec, dimensionless_unscaled

    from spherex.spectra import Calibration, Calibrations

    def read(handle: Any, reader: Any, *arguments: Any) -> Calibration | None:
        return None if handle is None else Calibration(str(handle.ref.id), reader(handle, *arguments))

    return Calibrations(
        wavelengths=read(spectral_wcs, _read_wavelengths),
        solid_angles=read(solid_angles, _read_map, arcsec**2),
        psf=read(psf, _read_psf),
        gains=read(gains, _read_map, dimensionless_unscaled),
        error_scale=read(error_scale, _read_error_scale),
        is_psf_spare=is_psf_spare,
    )
