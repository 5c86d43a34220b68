"""How the Butler reads and writes scans."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lsst.daf.butler import DatasetProvenance, FormatterV2

if TYPE_CHECKING:
    from lsst.resources import ResourcePath

    from .scan import Scan


class ScanFormatter(FormatterV2):
    """Scans are FITS images with the pixel size in the card STEP."""

    default_extension: ClassVar[str | None] = ".fits"
    can_read_from_local_file: ClassVar[bool] = True

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Scan:
        """Read a scan, or the rows that the parameter ``rows`` wants."""
        from astropy.io import fits

        from .scan import Scan

        first, last = (self.file_descriptor.parameters or {}).get("rows", (0, None))
        with fits.open(path) as hdus:
            density = hdus[0].section[first:last]
            return Scan(density.astype(density.dtype.newbyteorder("=")), float(hdus[0].header["STEP"]))

    def add_provenance(self, in_memory_dataset: Scan, /, *, provenance: DatasetProvenance | None = None) -> Scan:
        """Keep the provenance for the header. The Butler calls this before it writes the scan."""
        self._cards = (provenance or DatasetProvenance()).to_flat_dict(
            self.dataset_ref, prefix="HIERARCH PLATES BUTLER", sep=" ", simple_types=True
        )
        return in_memory_dataset

    def write_local_file(self, in_memory_dataset: Scan, uri: ResourcePath) -> None:
        """Write a scan and its provenance."""
        from astropy.io import fits

        hdu = fits.PrimaryHDU(in_memory_dataset.density)
        hdu.header["STEP"] = (in_memory_dataset.step, "[um] pixel size on the plate")
        hdu.header.update(self._cards)
        hdu.writeto(uri.ospath)
