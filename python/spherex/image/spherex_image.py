"""SPHEREx image: pixels with variance, flags, header, further planes, and the components made of these."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, NDData, VarianceUncertainty
from astropy.units import Quantity, UnitBase
from astropy.wcs import WCS

from spherex.archive import CalibrationReference, calibration_references
from spherex.headers import BUNIT, bunit_of, version_of

from .box import Box, Cutout
from .flags import DEFAULT_PRESET, SPHEREX_FLAGS, FlagPlane, FlagTable, as_flags
from .plane import Plane
from .psf import PSF_PLANES, Psf
from .wavelength import WAVELENGTH_KEY, Wavelength, wavelength_plane
from .wcs import (
    alternative_wcs,
    celestial_text,
    celestial_wcs,
    frame_box,
    frame_origin,
    is_same_wcs,
    shifted_cards,
    shifted_header,
    shifted_wcs,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ZODI_PLANE = "ZODI"
"""Name of the plane with the model of the zodiacal light."""

_PRIMARY = "PRIMARY"


class Component(NamedTuple):
    """Part of a `SPHERExImage` that can be read alone.

    Parameters
    ----------
    attribute
        Attribute of the image with the component.
    unit_power
        Power of the image's unit that the pixels of the component have; 0 if
        the component is more than pixels.
    """

    attribute: str
    unit_power: int = 0


COMPONENTS: Mapping[str, Component] = {
    "image": Component("data", 1),
    "flags": Component("flag_plane"),
    "variance": Component("variance", 2),
    "zodi": Component("zodi", 1),
    "wcs": Component("wcs"),
    "header": Component("header"),
    "psf": Component("psf_model"),
    "wavelength": Component("wavelength"),
    "bbox": Component("bbox"),
    "calibrations": Component("calibrations"),
}
"""Components of a `SPHERExImage` by name: `SPHERExImage.component` and
`spherex.fits.ProductFile.component` return these and no others;
configs/storageClasses.yaml gives each its storage class.
"""


class SPHERExImage(CCDData):
    """One image of one detector.

    It is a `~astropy.nddata.CCDData`, so that astropy, photutils and ccdproc
    take it, with a variance, named flags and further planes. Arithmetic
    keeps variance and flags; the header, WCS and planes of the result are
    those of the first operand. Components such as `wavelength` and `bbox`
    are derived from header, flags and planes at each access, so that they
    are those of a cut too.

    Parameters
    ----------
    data
        Pixels, shape (rows, columns), or another image, whose content is the
        default of the other arguments.
    unit
        Unit of the pixels; by default BUNIT of the header.
    variance
        Variance of the pixels in the square of ``unit``, same shape.
    flags
        Flags of the pixels, int32, same shape; a `FlagPlane` brings its own
        ``flag_table``.
    flag_table
        Names of the flags; by default those of `SPHEREX_FLAGS`.
    header
        Header of the image, `astropy.io.fits.Header` or any mapping.
    wcs
        Celestial coordinates. By default they are built from the header at
        their first access, and again after its cards have changed.
    planes
        Further planes by name, in the order in which they are written.
    extra_headers
        Header cards of the primary HDU and of the FLAGS and VARIANCE planes
        as in their file, by name. They are written back.
    **kwargs
        Passed to `~astropy.nddata.CCDData`: ``mask``, ``uncertainty``, ``copy``.

    Raises
    ------
    ValueError
        If the image is not two-dimensional, has no unit, or the shapes of
        the planes differ.

    Examples
    --------
    >>> import spherex
    >>> image = spherex.read("image.fits")
    >>> image.shape, image.unit
    ((64, 64), Unit("MJy / sr"))
    >>> bool(image.bad_pixels("fit").any())
    True
    """

    def __init__(
        self,
        data: Any,
        *,
        unit: str | UnitBase | None = None,
        variance: np.ndarray | None = None,
        flags: np.ndarray | FlagPlane | None = None,
        flag_table: FlagTable | None = None,
        header: Mapping[str, Any] | None = None,
        wcs: WCS | None = None,
        planes: Mapping[str, Plane] | None = None,
        extra_headers: Mapping[str, bytes] | None = None,
        **kwargs: Any,
    ) -> None:
        header = kwargs.pop("meta", None) if header is None else header
        self._wcs_is_in_header = wcs is None
        if isinstance(data, SPHERExImage):
            source = data
            kwargs.setdefault("uncertainty", source.uncertainty)
            kwargs.setdefault("mask", source.mask)
            kwargs.setdefault("psf", source.custom_psf)
            unit = source.unit if unit is None else unit
            header = source.header if header is None else header
            flags = source.flag_plane if flags is None else flags
            planes = source.planes if planes is None else planes
            extra_headers = source.extra_headers if extra_headers is None else extra_headers
            if wcs is None and not source.wcs_is_in_header:
                wcs, self._wcs_is_in_header = source.wcs, False
            data = source.data
        if isinstance(flags, FlagPlane):
            flag_table = flags.table
        pixel_flags = None if flags is None else as_flags(flags)
        if kwargs.get("copy", False):
            pixel_flags = None if pixel_flags is None else pixel_flags.copy()
            planes = {name: plane.copy() for name, plane in (planes or {}).items()}
        if header is None:
            header = data.meta if isinstance(data, NDData) else fits.Header()
        if not isinstance(header, fits.Header):
            header = fits.Header(list(header.items()))
        if unit is None and not isinstance(data, NDData):
            unit = bunit_of(header)
        if variance is not None:
            variance_unit = getattr(variance, "unit", None)
            kwargs["uncertainty"] = VarianceUncertainty(np.asarray(variance), unit=variance_unit, copy=False)
        self.flag_table = SPHEREX_FLAGS if flag_table is None else flag_table
        self.planes: dict[str, Plane] = dict(planes or {})
        self.extra_headers: dict[str, bytes] = dict(extra_headers or {})
        self._wcs_text: str | None = None
        self._psf: np.ndarray | None = None
        self._psf_model: tuple[Plane, tuple[float, float], Psf] | None = None
        super().__init__(data, unit=unit, meta=header, wcs=wcs, flags=pixel_flags, **kwargs)
        # Arithmetic with a number converts the number to an image of no dimension.
        if self.data.ndim not in (0, 2):
            raise ValueError(f"A SPHERExImage is two-dimensional, not of shape {self.data.shape}.")

    @property
    def uncertainty(self) -> VarianceUncertainty | None:
        """Uncertainty of the pixels, always as a variance."""
        return self._uncertainty

    @uncertainty.setter
    def uncertainty(self, value: Any) -> None:
        if value is not None and not isinstance(value, VarianceUncertainty):
            if not hasattr(value, "represent_as"):
                raise TypeError("The kind of the uncertainty is not known; pass VarianceUncertainty(array).")
            value = value.represent_as(VarianceUncertainty)
        if value is not None and value.array is not None and value.array.shape != self.data.shape:
            raise ValueError(f"The variance has shape {value.array.shape}, but the image has shape {self.data.shape}.")
        # Arithmetic sets the unit of an image after its uncertainty.
        if value is not None and value.unit is not None and self._unit is not None and value.unit != self._unit**2:
            array = Quantity(value.array, value.unit, dtype=None).to_value(self._unit**2).astype(value.array.dtype)
            value = VarianceUncertainty(array, copy=False)
        CCDData.uncertainty.fset(self, value)

    @property
    def variance(self) -> np.ndarray | None:
        """Variance of the pixels in the square of the unit, shape (rows, columns)."""
        return None if self._uncertainty is None else self._uncertainty.array

    @property
    def wcs(self) -> WCS | None:
        """Celestial coordinates; `None` if the header has none.

        They follow the cards of the header until they are set or changed
        themselves. From then on a written file gets them instead of those cards.
        """
        is_outdated = self._wcs_is_in_header and (
            self._wcs_text is None or self._wcs_text != celestial_text(self.header)
        )
        if is_outdated and self.wcs_is_in_header:
            self._wcs = celestial_wcs(self.header)
            if self._wcs is not None:
                self._wcs.array_shape = self.data.shape
            self._wcs_as_built = copy.deepcopy(self._wcs)
            self._wcs_text = celestial_text(self.header)
        return self._wcs

    @wcs.setter
    def wcs(self, value: WCS | None) -> None:
        CCDData.wcs.fset(self, value)
        self._wcs_is_in_header = False

    @property
    def wcs_is_in_header(self) -> bool:
        """Whether the WCS is the one of the header cards, not one set or changed by hand."""
        if self._wcs_is_in_header and self._wcs_text is not None and self._wcs is not None:
            self._wcs_is_in_header = is_same_wcs(self._wcs, self._wcs_as_built)
        return self._wcs_is_in_header

    @property
    def flags(self) -> np.ndarray | None:
        """Flags of the pixels, int32, shape (rows, columns). Setting a `FlagPlane` sets `flag_table` too."""
        return self._flags

    @flags.setter
    def flags(self, value: np.ndarray | FlagPlane | None) -> None:
        if isinstance(value, FlagPlane):
            self.flag_table = value.table
        pixel_flags = None if value is None else as_flags(value)
        if pixel_flags is not None and pixel_flags.shape != self.data.shape:
            raise ValueError(f"The flags have shape {pixel_flags.shape}, but the image has shape {self.data.shape}.")
        self._flags = pixel_flags

    @property
    def flag_plane(self) -> FlagPlane | None:
        """Flags with their names, `None` if the image has no flags."""
        return None if self.flags is None else FlagPlane(self.flags, self.flag_table)

    @property
    def bbox(self) -> Box:
        """Pixels of the whole frame that the image covers, by coordinate system A."""
        return frame_box(self.header, self.shape)

    @property
    def version(self) -> str | None:
        """VERSION of the mission's pipeline, from the primary header or else from that of the image."""
        primary = fits.Header.fromstring(self.extra_headers.get(_PRIMARY, b""))
        return version_of(primary, self.header)

    @property
    def calibrations(self) -> tuple[CalibrationReference, ...]:
        """Calibrations that the mission's pipeline used, from the HISTORY of the header."""
        return calibration_references(self.header.get("HISTORY", ()))

    @property
    def zodi(self) -> np.ndarray | None:
        """Model of the zodiacal light in the unit of the image, shape (rows, columns). It is not subtracted."""
        plane = self.planes.get(ZODI_PLANE)
        return None if plane is None else plane.data

    @property
    def wavelength(self) -> Wavelength | None:
        """Wavelength and bandwidth of the pixels; `None` if the image has no table WCS-WAVE."""
        name = wavelength_plane(self.header)
        return None if name not in self.planes else Wavelength(self.header, self.planes[name].readonly_hdu, self.shape)

    @property
    def psf_model(self) -> Psf | None:
        """PSFs of the zones; `None` if the image has no plane of the archive's form with them."""
        plane = next((self.planes[name] for name in PSF_PLANES if name in self.planes), None)
        if plane is None or not Psf.is_in(plane.readonly_hdu):
            return None
        origin = frame_origin(self.header)
        if self._psf_model is None or self._psf_model[:2] != (plane, origin):
            self._psf_model = plane, origin, Psf.from_hdu(plane.readonly_hdu, self.version, origin)
        return self._psf_model[2]

    @property
    def psf(self) -> np.ndarray | None:
        """Samples of `psf_model`, shape (zones, rows, columns): `~astropy.nddata.CCDData` demands an array.

        An array set by hand replaces them, but cannot be written.
        """
        if self._psf is not None:
            return self._psf
        return None if self.psf_model is None else self.psf_model.samples

    @psf.setter
    def psf(self, value: np.ndarray | None) -> None:
        if value is not None and not isinstance(value, np.ndarray):
            raise TypeError("The PSF of an image is an array.")
        self._psf = value

    @property
    def custom_psf(self) -> np.ndarray | None:
        """Array that was set as `psf` by hand."""
        return self._psf

    def alternative_wcs(self, key: str) -> WCS:
        """Return an alternative coordinate system.

        Parameters
        ----------
        key
            A for the pixels of the whole frame, W for wavelength and bandwidth in um.

        Raises
        ------
        KeyError
            If the header has no such system, or the image no table for it.
        ProductError
            If the table is damaged, see `Wavelength`.
        """
        if key == WAVELENGTH_KEY and wavelength_plane(self.header) is not None:
            if (wavelength := self.wavelength) is None:
                raise KeyError(f"The image has no table for the coordinate system {key}.")
            return wavelength.wcs
        return alternative_wcs(self.header, key)

    def bad_pixels(self, names: str | Iterable[str] = DEFAULT_PRESET) -> np.ndarray:
        """Return the pixels that should not be used; see `FlagPlane.bad_pixels`.

        Raises
        ------
        ValueError
            If the image has no flags.
        KeyError
            If the image does not have one of the flags.
        """
        if self.flag_plane is None:
            raise ValueError("The image has no flags, so its bad pixels are not known.")
        return self.flag_plane.bad_pixels(names)

    def component(self, name: str) -> Any:
        """Return one of `COMPONENTS`, pixels as a `~astropy.units.Quantity`.

        Raises
        ------
        AttributeError
            If there is no such component.
        ValueError
            If the image does not have it.
        """
        if name not in COMPONENTS:
            raise AttributeError(f"A SPHERExImage has no component {name!r}; it has {', '.join(COMPONENTS)}.")
        attribute, unit_power = COMPONENTS[name]
        component = getattr(self, attribute)
        if component is None:
            raise ValueError(f"This SPHERExImage has no {name}.")
        return Quantity(component, self.unit**unit_power, copy=False, dtype=None) if unit_power else component

    @classmethod
    def read(cls, *args: Any, **kwargs: Any) -> SPHERExImage:
        """Refuse: the reader of CCDData loses flags and planes.

        Raises
        ------
        NotImplementedError
            Always; `spherex.fits.read_product` reads.
        """
        raise NotImplementedError("Use spherex.fits.read_product(path): CCDData.read would lose flags and planes.")

    def write(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the writer of CCDData loses planes.

        Raises
        ------
        NotImplementedError
            Always; `spherex.fits.write_product` writes.
        """
        raise NotImplementedError("Use spherex.fits.write_product(image, path): CCDData.write would lose planes.")

    def __getitem__(self, item: Any) -> SPHERExImage:
        return self.cutout(Box.from_slices(item, self.data.shape))

    def cutout(
        self,
        box: Box | Sequence[int] | None = None,
        *,
        position: SkyCoord | None = None,
        size: Any = None,
        mode: str = "trim",
    ) -> SPHERExImage:
        """Return a part of the image; pixels keep their coordinates in all coordinate systems.

        Pixels, variance and flags are views, unless the part is padded.

        Parameters
        ----------
        box, position, size, mode
            Box of pixels, or position on the sky; see `Cutout`.

        Raises
        ------
        ValueError
            If no pixel of the part is in the image.
        """
        box = Cutout.of(box, position, size, mode).resolve(self.data.shape, lambda: self.wcs)
        flags = self.flag_plane
        cut = SPHERExImage(
            box.cut(self.data),
            unit=self.unit,
            variance=None if self.variance is None else box.cut(self.variance),
            mask=None if self.mask is None else box.cut(np.broadcast_to(self.mask, self.data.shape), fill=True),
            flags=None if flags is None else flags.cutout(box),
            flag_table=self.flag_table,
            header=shifted_header(self.header, box),
            planes={name: plane.cutout(box, self.data.shape) for name, plane in self.planes.items()},
            extra_headers={name: shifted_cards(cards, box) for name, cards in self.extra_headers.items()},
        )
        if not self.wcs_is_in_header:
            cut.wcs = None if self._wcs is None else shifted_wcs(self._wcs, box)
        return cut

    def plot(self, axes: Axes | None = None, **options: Any) -> Axes:
        """Draw the image with a colour bar, and for a celestial WCS a compass and a scale bar.

        The title is the identity in the header (``OBSID``, ``DETECTOR``) and the
        wavelength at the middle of the image, as far as they are known.

        Parameters
        ----------
        axes
            Axes in pixels; by default the current ones of `matplotlib.pyplot`.
        **options
            Further arguments of `spherex.image.draw_image`, such as
            ``hidden_flags``.

        Returns
        -------
        axes
            The axes.

        Raises
        ------
        KeyError
            If ``hidden_flags`` contains a name that is not that of a flag.
        """
        from matplotlib.ticker import MaxNLocator

        from .drawing import draw_image

        if axes is None:
            from matplotlib import pyplot

            axes = pyplot.gca()
        drawn, extend, _ = draw_image(axes, self, **options)
        unit = "" if self.unit is None else self.unit.to_string("unicode")
        axes.figure.colorbar(drawn, ax=axes, extend=extend, label=unit)
        axes.set_xlabel("x (pixels)")
        axes.set_ylabel("y (pixels)")
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(locator := axis.get_major_locator(), MaxNLocator):
                locator.set_params(integer=True)
        names = (("", "OBSID"), ("D", "DETECTOR"))
        lines = ["   ".join(f"{sign}{self.header[key]}" for sign, key in names if key in self.header)]
        if self.wavelength is not None:
            rows, columns = self.data.shape
            middle, _ = self.wavelength.at((columns - 1) / 2, (rows - 1) / 2)
            lines.append(f"{middle.to_value('um'):.3f} µm in the middle")
        axes.set_title("\n".join(filter(None, lines)))
        return axes

    def add(self, operand: Any, operand2: Any = None, **kwargs: Any) -> SPHERExImage:
        """Add; see `astropy.nddata.NDArithmeticMixin.add`. Flags are combined."""
        return self._with_annotations(CCDData.add, operand, operand2, kwargs)

    def subtract(self, operand: Any, operand2: Any = None, **kwargs: Any) -> SPHERExImage:
        """Subtract; see `astropy.nddata.NDArithmeticMixin.subtract`. Flags are combined."""
        return self._with_annotations(CCDData.subtract, operand, operand2, kwargs)

    def multiply(self, operand: Any, operand2: Any = None, **kwargs: Any) -> SPHERExImage:
        """Multiply; see `astropy.nddata.NDArithmeticMixin.multiply`. Flags are combined."""
        return self._with_annotations(CCDData.multiply, operand, operand2, kwargs)

    def divide(self, operand: Any, operand2: Any = None, **kwargs: Any) -> SPHERExImage:
        """Divide; see `astropy.nddata.NDArithmeticMixin.divide`. Flags are combined."""
        return self._with_annotations(CCDData.divide, operand, operand2, kwargs)

    def _with_annotations(
        self, operation: Callable[..., Any], operand: Any, operand2: Any, kwargs: dict[str, Any]
    ) -> SPHERExImage:
        if operand2 is not None:
            raise TypeError("Call the operation on one image with the other as its only operand.")
        flag_planes = [self.flag_plane]
        if isinstance(operand, SPHERExImage):
            flag_planes.append(operand.flag_plane)
            operand = SPHERExImage(operand, planes={})
        elif isinstance(operand, CCDData):
            # Masters of ccdproc come with a standard deviation.
            operand = CCDData(operand)
            if operand.uncertainty is not None:
                operand.uncertainty = operand.uncertainty.represent_as(VarianceUncertainty)
        flags: FlagPlane | None = None
        match [plane for plane in flag_planes if plane is not None]:
            case [first, second]:
                flags = first.combined(second)
            case [only]:
                flags = FlagPlane(only.array.copy(), only.table)
        kwargs.setdefault("compare_wcs", None)
        # With planes astropy would read the PSF, only to report that the result gets none.
        result = operation(SPHERExImage(self, planes={}), operand, **kwargs)
        header = self.header.copy()
        if BUNIT in header:
            header[BUNIT] = result.unit.to_string()
        annotated = SPHERExImage(
            result.data,
            unit=result.unit,
            uncertainty=result.uncertainty,
            mask=result.mask,
            flags=flags,
            flag_table=self.flag_table if flags is None else flags.table,
            header=header,
            planes=self.planes,
            extra_headers=self.extra_headers,
        )
        if not self.wcs_is_in_header:
            annotated.wcs = self._wcs
        return annotated
