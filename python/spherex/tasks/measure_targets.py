"""Fluxes of the targets of a catalogue in one image."""

from __future__ import annotations

import dataclasses
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import lsst.pex.config as pexConfig
import lsst.pipe.base as pipeBase
import lsst.pipe.base.connectionTypes as cT  # noqa: N812
import numpy as np
from astropy import units
from lsst.daf.butler import FileIntegrityError

from spherex.calibrations import CalibrationLookup
from spherex.detectors import (
    AVERAGE_PSF_TYPE,
    CATALOG_TYPE,
    DETECTORS,
    EPSF_TYPE,
    FLUX_CORRECTIONS_TYPE,
    FRAME_SHAPE,
    LEVEL2_TYPE,
    SOLID_ANGLE_TYPE,
    SPECTRAL_WCS_TYPE,
)
from spherex.errors import ProductError

if TYPE_CHECKING:
    from astropy.io.fits import HDUList, Header
    from astropy.nddata import CCDData
    from astropy.table import Table
    from lsst.daf.butler import DataCoordinate
    from lsst.sphgeom import Region
    from numpy.typing import NDArray

    from spherex.image import Box, PlaneWavelengths, SPHERExImage, Wavelength
    from spherex.photometry import Profiles
    from spherex.spectra import Calibrations, MeasureSettings


_Value = TypeVar("_Value")


class Kept(Generic[_Value]):
    """The last few values of something that takes long to read.

    Parameters
    ----------
    most
        How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def get(self, key: Hashable, read: Callable[[], _Value]) -> _Value:
        """Return a value, and read it if it is not here.

        Parameters
        ----------
        key
            What identifies it for good, such as the UUID of a dataset.
        read
            Reads it.
        """
        if key not in self._values:
            self._values[key] = read()
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]


_PSF_KINDS = (EPSF_TYPE, AVERAGE_PSF_TYPE)

_CATALOGS: Kept[Table] = Kept(2)
_PROFILES: Kept[Profiles] = Kept(2 * len(DETECTORS))
_MAPS: Kept[WholeMap] = Kept(2 * len(DETECTORS))
_WAVELENGTHS: Kept[PlaneWavelengths | Wavelength] = Kept(len(DETECTORS))


class HandledImage:
    """An image of which parts are read through a handle.

    Parameters
    ----------
    handle
        As `lsst.daf.butler.DeferredDatasetHandle`.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._header: Header | None = None

    def _get(self, **what: Any) -> Any:
        """Read something; the Butler hides what is wrong with a file in an error of its own."""
        try:
            return self._handle.get(**what)
        except (FileNotFoundError, FileIntegrityError) as error:
            raise ProductError(str(error)) from error
        except ValueError as error:
            if isinstance(error.__cause__, ProductError):
                raise error.__cause__ from None
            raise

    def header(self) -> Header:
        """Return the header of the whole."""
        if self._header is None:
            self._header = self._get(component="header")
        return self._header

    def read(self, box: Box) -> SPHERExImage:
        """Return a part, without further planes."""
        image: SPHERExImage = self._get(parameters={"box": box, "planes": []})
        return image

    def wavelength(self) -> Wavelength:
        """Return the wavelength solution of the whole."""
        solution: Wavelength = self._get(component="wavelength")
        return solution

    def profiles(self) -> tuple[Profiles, str]:
        """Return the PSF of the image, and which one it is.

        The same PSF stands in each image of a detector. The header names the
        calibration that it was copied from, so that it is read only once.
        """
        from spherex.archive import calibration_references
        from spherex.photometry import Profiles

        known = {one.type: one.id for one in calibration_references(self.header().get("HISTORY", ()))}
        kind = next((kind for kind in _PSF_KINDS if kind in known), None)

        def read() -> Profiles:
            try:
                return Profiles(self._get(component="psf"))
            except ProductError:
                raise
            except ValueError as error:
                raise ProductError(f"the PSF of the image cannot be used: {error}") from error

        if kind is None:
            return read(), "image"
        return _PROFILES.get(known[kind], read), f"image, {kind} {known[kind]}"


class WholeMap:
    """A calibration with one number for each pixel of the frame, in memory.

    Parameters
    ----------
    values
        Of shape (rows, columns).
    """

    def __init__(self, values: NDArray[np.floating]) -> None:
        self._values = values

    def read(self, box: Box) -> NDArray[np.floating]:
        """Return a part of the map."""
        return self._values[box.slices]


def catalog_of(handle: Any) -> Table:
    """Return a catalogue of targets, which is the same for all images.

    Parameters
    ----------
    handle
        Of the table.
    """
    catalog: Table = _CATALOGS.get(handle.ref.id, handle.get)
    return catalog


def map_of(handle: Any, unit: units.UnitBase) -> WholeMap:
    """Return a map of the frame from a calibration that is an image.

    Parameters
    ----------
    handle
        Of a `astropy.nddata.CCDData`.
    unit
        Unit that is wanted; taken for granted where the calibration has none.

    Raises
    ------
    ValueError
        If it is not of the shape of the frame, or in another unit.
    """
    return _MAPS.get(handle.ref.id, lambda: _read_map(handle.get(), handle.ref.datasetType.name, unit))


def _read_map(image: CCDData, name: str, unit: units.UnitBase) -> WholeMap:

    if image.shape != FRAME_SHAPE:
        raise ValueError(f"the calibration {name} has shape {image.shape}, not that of the frame")
    values = np.asarray(image.data)
    given = image.unit
    if given in (None, units.dimensionless_unscaled) or given == unit:
        return WholeMap(values)
    if not given.is_equivalent(unit):
        raise ValueError(f"the calibration {name} is in {given}, not in {unit or 'numbers without unit'}")
    return WholeMap(values * given.to(unit))


def wavelengths_of(handle: Any) -> PlaneWavelengths | Wavelength:
    """Return the wavelengths of the frame from the calibration ``spectral_wcs``.

    Raises
    ------
    ValueError
        If it holds none for the frame.
    """
    from spherex.image import wavelengths_in

    return _WAVELENGTHS.get(handle.ref.id, lambda: wavelengths_in(handle.get()))


def profiles_of(handle: Any) -> Profiles:
    """Return the PSF from a calibration ``epsf`` or ``average_psf``.

    Raises
    ------
    ValueError
        If it holds none.
    """
    return _PROFILES.get(handle.ref.id, lambda: _read_profiles(handle.get(), handle.ref.datasetType.name))


def _read_profiles(hdus: HDUList, name: str) -> Profiles:
    from spherex.headers import version_of
    from spherex.image import Psf
    from spherex.photometry import Profiles

    hdu = next((one for one in hdus if Psf.is_in(one)), None)
    if hdu is None:
        raise ValueError(f"the calibration {name} holds no PSF in one of the archive's forms")
    return Profiles(Psf.from_hdu(hdu, version_of(hdus[0].header)))


_LOG = logging.getLogger(__name__)
_DIMENSIONS = ("instrument", "exposure", "detector")


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


class MeasureTargetsConnections(pipeBase.PipelineTaskConnections, dimensions=(*_DIMENSIONS, "catalog")):
    """What `MeasureTargetsTask` reads and writes."""

    image = cT.Input(
        doc="Image to measure.", name=LEVEL2_TYPE, storageClass="SPHERExImage", dimensions=_DIMENSIONS, deferLoad=True
    )
    targets = cT.Input(
        doc="Targets with their positions and proper motions.",
        name=CATALOG_TYPE,
        storageClass="AstropyParquet",
        dimensions=("catalog",),
        deferLoad=True,
    )
    spectralWcs = _calibration(
        SPECTRAL_WCS_TYPE, "AstropyHDUList", "Wavelengths of all pixels; without it those of the image are used."
    )
    solidAngles = _calibration(
        SOLID_ANGLE_TYPE, "CCDData", "Solid angles of all pixels; without it the median of the image."
    )
    psf = _calibration(
        EPSF_TYPE, "AstropyHDUList", "PSF that takes the place of the image's own; without it that of the image."
    )
    fluxCorrections = _calibration(
        FLUX_CORRECTIONS_TYPE, "CCDData", "Factors for images of the mission's pipeline before version 7."
    )
    measurements = cT.Output(
        doc="A row for each target on the image.",
        name="target_measurements",
        storageClass="AstropyParquet",
        dimensions=(*_DIMENSIONS, "catalog"),
    )

    def __init__(self, *, config: MeasureTargetsConfig | None = None) -> None:
        super().__init__(config=config)
        if config is None or config.psfSource == "image":
            del self.psf
        if config is None or not config.correctGains:
            del self.fluxCorrections
        self._lookups = {name: CalibrationLookup() for name in self.prerequisiteInputs}
        for name, lookup in self._lookups.items():
            setattr(self, name, dataclasses.replace(getattr(self, name), lookupFunction=lookup))

    def adjustQuantum(self, inputs: Any, outputs: Any, label: str, data_id: DataCoordinate) -> Any:  # noqa: N802
        """Say which image is left out because its file is gone.

        See `lsst.pipe.base.PipelineTaskConnections.adjustQuantum`.
        """
        if not inputs["image"][1]:
            _LOG.warning(
                "The file of %s of exposure %s, detector %s is gone: it is left out. With --qgraph-datastore-records "
                "its targets get a row that says so.",
                self.image.name,
                data_id["exposure"],
                data_id["detector"],
            )
        return super().adjustQuantum(inputs, outputs, label, data_id)

    def adjust_all_quanta(self, adjuster: pipeBase.QuantaAdjuster) -> None:
        """Say which calibrations there are not.

        See `lsst.pipe.base.PipelineTaskConnections.adjust_all_quanta`.
        """
        for name, lookup in self._lookups.items():
            if missing := lookup.finish():
                connection = getattr(self, name)
                _LOG.warning("There is no %s for %d images. %s", connection.name, len(missing), connection.doc)


class MeasureTargetsConfig(pipeBase.PipelineTaskConfig, pipelineConnections=MeasureTargetsConnections):
    """Configuration of `MeasureTargetsTask`."""

    psfSource = pexConfig.ChoiceField[str](
        doc="Which PSF is used.",
        allowed={"image": "That of the image.", "calibration": "The calibration of connection psf."},
        default="image",
    )
    correctGains = pexConfig.Field[bool](
        default=False,
        doc="Multiply images of the mission's pipeline before version 7 by the calibration of connection "
        "fluxCorrections, without which they are not to be averaged with later ones.",
    )
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
        doc="Largest fraction of the PSF on unusable pixels with which there is a flux.",
    )
    leastBackground = pexConfig.RangeField(
        dtype=int,
        default=20,
        min=1,
        doc="Number of undoubtful pixels below which doubtful ones are background, too, after clipping.",
    )
    badFlags = pexConfig.ListField[str](
        default=["fit"],
        doc="Pixels with one of these flags are not used: names of flags and of presets. Flags that an image does not "
        "have are passed over.",
    )
    doubtfulFlags = pexConfig.ListField[str](default=["background"], doc="The same for pixels that are no background.")
    barycentric = pexConfig.Field[bool](default=False, doc="Add times at the barycentre of the solar system.")

    def validate(self) -> None:
        """Check the configuration; see `lsst.pex.config.Config.validate`."""
        super().validate()
        if self.side % 2 == 0:
            raise pexConfig.FieldValidationError(
                self._fields["side"], self, f"The side of the square must be odd, not {self.side}."
            )
        from spherex.image import BAD_PIXEL_PRESETS, KNOWN_FLAGS

        for field in ("badFlags", "doubtfulFlags"):
            if unknown := set(getattr(self, field)) - BAD_PIXEL_PRESETS.keys() - KNOWN_FLAGS:
                raise pexConfig.FieldValidationError(
                    self._fields[field],
                    self,
                    f"There is no flag {', '.join(sorted(unknown))} (write them as a list, ['fit', 'STREAK']). "
                    f"Presets are {', '.join(BAD_PIXEL_PRESETS)}, "
                    f"flags {', '.join(sorted(KNOWN_FLAGS))}.",
                )


class MeasureTargetsTask(pipeBase.PipelineTask):
    """Measure all targets of a catalogue in one image.

    An image that cannot be read or measured gives rows that say why, so that
    it does not cost the spectra of its targets.
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
        data_id = inputRefs.image.dataId
        facts = {
            "exposure": data_id["exposure"],
            "detector": data_id["detector"],
            "image_id": str(inputRefs.image.id),
            "image_run": inputRefs.image.run,
            "catalog_id": str(inputRefs.targets.id),
        }
        inputs = butlerQC.get(inputRefs)
        inputs["targets"] = catalog_of(inputs["targets"])
        outputs = self.run(**inputs, facts=facts, region=data_id.region)
        butlerQC.put(outputs, outputRefs)

    def run(
        self,
        image: Any,
        targets: Table,
        *,
        facts: Mapping[str, Any],
        region: Region | None = None,
        spectralWcs: Any = None,  # noqa: N803
        solidAngles: Any = None,  # noqa: N803
        psf: Any = None,
        fluxCorrections: Any = None,  # noqa: N803
    ) -> pipeBase.Struct:
        """Measure.

        Parameters
        ----------
        image
            Handle of the image, as `lsst.daf.butler.DeferredDatasetHandle`.
        targets
            The catalogue.
        facts
            Values of columns that identify the image.
        region
            Where the image is on the sky, which tells its targets if it
            cannot be read.
        spectralWcs, solidAngles, psf, fluxCorrections
            Handles of calibrations; `None` if there are none.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``measurements``, an `astropy.table.Table`; without rows if no
            target is on the image.
        """
        from spherex.errors import ProductError
        from spherex.spectra import make_plain_table, measure_targets

        # A bad calibration, or none to be had now, is no bad image: it fails the quantum.
        calibrations = _calibrations(spectralWcs, solidAngles, psf, fluxCorrections)
        try:
            table = measure_targets(HandledImage(image), targets, facts, calibrations, self._settings())
        except ProductError as error:
            table = self._failed(targets, facts, region, " ".join(str(error).split()))
        if table is None:
            # Written as well: spectra have to know that the image was looked at.
            table = make_plain_table({}, 0)
        failed = int(np.count_nonzero(table["reason"] != ""))
        self.metadata["targets"] = len(table)
        self.metadata["failed"] = failed
        if failed == len(table) > 0:
            self.log.warning(
                "Exposure %s, detector %s gives no flux: %s", facts["exposure"], facts["detector"], table["reason"][0]
            )
        self.log.info("Measured %d targets, %d of them without a flux.", len(table), failed)
        return pipeBase.Struct(measurements=table)

    def _settings(self) -> MeasureSettings:
        from spherex.photometry import FluxSettings
        from spherex.spectra import MeasureSettings

        config = self.config
        return MeasureSettings(
            fluxes=FluxSettings(config.side, config.core, config.aperture, config.mostMasked, config.leastBackground),
            bad_flags=tuple(config.badFlags),
            doubtful_flags=tuple(config.doubtfulFlags),
            is_barycentric=config.barycentric,
        )

    def _failed(self, targets: Table, facts: Mapping[str, Any], region: Region | None, reason: str) -> Table | None:
        from spherex.spectra import failed_table

        names = np.asarray(targets["name"], dtype=str)[_in_region(targets, region)]
        return failed_table(names, facts, reason) if len(names) else None


def _calibrations(spectral_wcs: Any, solid_angles: Any, psf: Any, gains: Any) -> Calibrations:
    from astropy import units

    from spherex.spectra import Calibration, Calibrations

    def named(handle: Any, value: Any) -> Calibration | None:
        return None if handle is None else Calibration(str(handle.ref.id), value(handle))

    return Calibrations(
        wavelengths=named(spectral_wcs, wavelengths_of),
        solid_angles=named(solid_angles, lambda handle: map_of(handle, units.arcsec**2)),
        psf=named(psf, profiles_of),
        gains=named(gains, lambda handle: map_of(handle, units.dimensionless_unscaled)),
    )


def _in_region(targets: Table, region: Region | None) -> NDArray[np.bool_]:
    """Return which targets are in a region; all if it is not known."""
    if region is None:
        return np.ones(len(targets), bool)
    ra, dec = (np.radians(np.asarray(targets[name], dtype=float)) for name in ("ra", "dec"))
    is_in: NDArray[np.bool_] = np.asarray(region.contains(ra, dec))
    return is_in
