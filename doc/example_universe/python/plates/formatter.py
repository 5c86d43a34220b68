"""How the Butler reads and writes scans, and takes parts of those in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lsst.daf.butler import DatasetProvenance, FormatterV2, StorageClassDelegate

if TYPE_CHECKING:
    from lsst.resources import ResourcePath

    from .scan import Scan


class ScanFormatter(FormatterV2):
    """Scans are FITS images with the pixel size in the card STEP."""

    default_extension: ClassVar[str | None] = ".fits"
    can_read_from_local_file: ClassVar[bool] = True

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """Read a scan, or the rows that the parameter ``rows`` wants, or the component ``size``, without pixels."""
        from astropy.io import fits

        from .scan import Scan

        first, last = (self.file_descriptor.parameters or {}).get("rows", (0, None))
        with fits.open(path) as hdus:
            header, step = hdus[0].header, float(hdus[0].header["STEP"])
            if component == "size":
                rows, columns = hdus[0].shape
                return {"rows": len(range(rows)[first:last]), "columns": columns, "step": step}
            density = hdus[0].section[first:last]
            # Without the cards that describe the array in the file.
            return Scan(density.astype(density.dtype.newbyteorder("=")), step, header.copy(strip=True))

    def add_provenance(self, in_memory_dataset: Scan, /, *, provenance: DatasetProvenance | None = None) -> Scan:
        """Keep the provenance for the header. The Butler calls this before it writes the scan."""
        self._cards = (provenance or DatasetProvenance()).to_flat_dict(
            self.dataset_ref, prefix="HIERARCH PLATES BUTLER", sep=" ", simple_types=True
        )
        return in_memory_dataset

    def write_local_file(self, in_memory_dataset: Scan, uri: ResourcePath) -> None:
        """Write a scan and its provenance."""
        from astropy.io import fits

        header = in_memory_dataset.header.copy()
        # A header from an earlier dataset has its provenance: more inputs than this one may remain.
        DatasetProvenance.strip_provenance_from_flat_dict(header)
        header["STEP"] = (in_memory_dataset.step, "[um] pixel size on the plate")
        header.update(self._cards)
        # With new checksums: those of an earlier file would be wrong.
        fits.PrimaryHDU(in_memory_dataset.density, header).writeto(uri.ospath, checksum=True)


class ScanDelegate(StorageClassDelegate):
    """Components and parameters of scans in memory, as `ScanFormatter` has them for files."""

    def getComponent(self, composite: Scan, componentName: str) -> Any:  # noqa: N802, N803
        """Return a component. The storage class lists their names."""
        if componentName != "size":
            # That of the base class takes an attribute of this name.
            return super().getComponent(composite, componentName)
        rows, columns = composite.density.shape
        return {"rows": rows, "columns": columns, "step": composite.step}

    def handleParameters(self, inMemoryDataset: Scan, parameters: Mapping[str, Any] | None = None) -> Scan:  # noqa: N802, N803
        """Apply the parameters. The storage class lists their names."""
        first, last = (parameters or {}).get("rows", (0, None))
        return dataclasses.replace(inMemoryDataset, density=inMemoryDataset.density[first:last])
