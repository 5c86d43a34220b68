"""Formatters of astropy's CCDData and HDUList."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from .reading import ExplainedFormatter, strip_provenance

if TYPE_CHECKING:
    from astropy.io.fits import HDUList, Header
    from astropy.nddata import CCDData
    from lsst.resources import ResourcePath


@contextlib.contextmanager
def _damage_in(path: str) -> Iterator[None]:
    """Check the headers of a file, and name it in the errors of astropy, which are of many kinds for damaged ones.

    Raises
    ------
    ProductError
        If the file is damaged.
    """
    from spherex.errors import ProductError, first_line
    from spherex.fits import open_source, scan_hdus

    try:
        if not path.endswith(".gz"):
            with open_source(path, sparse=True) as source:
                scan_hdus(source)
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        raise ProductError(f"Cannot read {path}: {first_line(error)}.") from None


def _strip_header(header: Header) -> bool:
    """Remove the provenance of earlier datasets, and a checksum that includes it; return whether there was any."""
    found = strip_provenance(header)
    if found:
        header.remove("CHECKSUM", ignore_missing=True)
    return found


_EXTENSIONS = frozenset({".fits", ".fits.fz", ".fits.gz", ".fit", ".FITS"})


class CCDDataFormatter(ExplainedFormatter):
    """Formatter of `astropy.nddata.CCDData` in astropy's own layout.

    Pixels, unit, mask, uncertainty, PSF image, WCS and header are kept, and
    flags in an HDU FLAGS. Of a foreign file the first HDU with an image is
    read. A unit that astropy does not know becomes an
    `astropy.units.UnrecognizedUnit`.
    """

    __module__ = "spherex.formatters"  # Repositories record the class by this name.

    default_extension: ClassVar[str | None] = ".fits"
    supported_extensions: ClassVar[frozenset[str]] = _EXTENSIONS
    can_read_from_local_file: ClassVar[bool] = True

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> CCDData:
        """Read the image; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        ProductError
            If the file is damaged or contains no image.
        """
        with _damage_in(path):
            return self._read(path)

    def _read(self, path: str) -> CCDData:
        from astropy import units
        from astropy.io import fits
        from astropy.nddata import CCDData, FlagCollection

        from spherex.errors import HeaderError
        from spherex.fits import FLAGS
        from spherex.headers import BUNIT, bunit_of
        from spherex.image import replace_celestial_wcs

        with fits.open(path, memmap=False) as hdus:
            first = next((index for index, hdu in enumerate(hdus) if hdu.is_image and hdu.header["NAXIS"]), None)
            if first is None:
                raise OSError("it contains no image")
            header = hdus[first].header
            # The flags are read as by astropy 8; astropy 7 does not read them.
            if names := [hdu.name for hdu in hdus if hdu.name.startswith(f"{FLAGS}_")]:
                flags = FlagCollection(shape=hdus[first].shape)
                for name in names:
                    flags[name.removeprefix(f"{FLAGS}_")] = hdus[name].data
            else:
                flags = hdus[FLAGS].data if FLAGS in hdus else None
        try:
            # astropy logs a message if both the header and the caller give a unit.
            unit = None if bunit_of(header) is not None else units.dimensionless_unscaled
        except HeaderError:
            unit = units.Unit(header[BUNIT], parse_strict="silent")
        image = CCDData.read(path, hdu=first, format="fits", unit=unit, memmap=False)
        image.flags = flags
        if image.wcs is not None:
            # astropy removes from the header every card that the WCS repeats,
            # exposure time and observatory among them.
            replace_celestial_wcs(header, None)
            image.header = header
        if not image.data.dtype.isnative:
            image.data = image.data.astype(image.data.dtype.newbyteorder("="))
        return image

    def write_local_file(self, in_memory_dataset: CCDData, uri: ResourcePath) -> None:
        """Write the image; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        ValueError
            If the image is a SPHERExImage, whose planes would be lost.
        """
        from astropy.io import fits
        from astropy.nddata import FlagCollection

        from spherex.fits import FLAGS
        from spherex.image import SPHERExImage

        if isinstance(in_memory_dataset, SPHERExImage):
            raise ValueError(
                f"{self.dataset_ref.datasetType.name} has the storage class CCDData, which would lose the planes and "
                "flag names of a SPHERExImage; give the dataset type the storage class SPHERExImage."
            )
        # astropy 7 does not write flags. The HDUs and their order are those of astropy 8.
        hdus = in_memory_dataset.to_hdu()
        flags = in_memory_dataset.flags
        planes = {FLAGS: flags} if flags is not None else {}
        if isinstance(flags, FlagCollection):
            planes = {f"{FLAGS}_{name}": plane for name, plane in flags.items()}
        place = len(hdus) - (in_memory_dataset.psf is not None)
        for number, (name, plane) in enumerate(planes.items()):
            # FITS has no image of truth values.
            pixels = plane.astype("uint8") if plane.dtype == bool else plane
            hdus.insert(place + number, fits.ImageHDU(pixels, name=name))
        # Their headers are copies.
        for hdu in hdus:
            _strip_header(hdu.header)
        hdus.writeto(uri.ospath, overwrite=True)


class HDUListFormatter(ExplainedFormatter):
    """Formatter of `astropy.io.fits.HDUList`."""

    __module__ = "spherex.formatters"  # Repositories record the class by this name.

    default_extension: ClassVar[str | None] = ".fits"
    supported_extensions: ClassVar[frozenset[str]] = _EXTENSIONS
    can_read_from_uri: ClassVar[bool] = True

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> HDUList:
        """Read the HDUs; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        ProductError
            If the file is damaged or not FITS.
        """
        from astropy.io import fits

        if not uri.isLocal:
            return NotImplemented
        # All HDUs are read into memory: a downloaded file is removed after
        # this call.
        with _damage_in(uri.ospath):
            hdus = fits.open(io.BytesIO(uri.read()), memmap=False, lazy_load_hdus=False)
            for hdu in hdus:
                # astropy looks at tables when they are used, and then does not know the file.
                if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                    for name in hdu.columns.names:
                        hdu.data[name]
            return hdus

    def write_local_file(self, in_memory_dataset: HDUList, uri: ResourcePath) -> None:
        """Write the HDUs; see `lsst.daf.butler.FormatterV2`."""
        from astropy.io import fits

        in_memory_dataset.writeto(uri.ospath, overwrite=True)
        # The HDUs of the caller stay as they are.
        if any(_strip_header(hdu.header.copy()) for hdu in in_memory_dataset):
            with fits.open(uri.ospath, mode="update", disable_image_compression=True) as written:
                for hdu in written:
                    _strip_header(hdu.header)
