"""Formatters in the place of those that can execute what a file says.

Reading a pickle, or YAML with arbitrary tags, runs whatever its author put
into it. A repository is shared, so nothing in it may be read that way.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from lsst.daf.butler import FormatterV2
from lsst.daf.butler.formatters.packages import PackagesFormatter

if TYPE_CHECKING:
    import numpy as np
    from lsst.daf.butler import Location
    from lsst.resources import ResourcePath


class NumpyFormatter(FormatterV2):
    """Reads and writes numpy arrays in numpy's own format, without pickle."""

    default_extension: ClassVar[str | None] = ".npy"
    can_read_from_uri: ClassVar[bool] = True

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> np.ndarray:
        """Read the array; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        ValueError
            If the file holds Python objects or is damaged.
        """
        import numpy as np

        try:
            return np.lib.format.read_array(io.BytesIO(uri.read()), allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"Cannot read {uri} as a numpy array: {error}") from None

    def to_bytes(self, in_memory_dataset: np.ndarray) -> bytes:
        """Return the array as bytes; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        ValueError
            If the array holds Python objects or is more than a plain array.
        """
        import numpy as np

        if type(in_memory_dataset) is not np.ndarray:
            kind = type(in_memory_dataset).__name__
            raise ValueError(f"A {kind} would lose what it has more than a numpy.ndarray (mask, unit, ...).")
        if in_memory_dataset.dtype.hasobject:
            raise ValueError("An array of Python objects cannot be stored; convert it to numbers or strings.")
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, in_memory_dataset, allow_pickle=False)
        return buffer.getvalue()


class JsonPackagesFormatter(PackagesFormatter):
    """Reads and writes the versions of packages as JSON only."""

    supported_extensions: ClassVar[frozenset[str]] = frozenset({".json"})

    def get_write_extension(self) -> str:
        """Return the extension of JSON files."""
        return ".json"

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the versions; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        RuntimeError
            If the file is not JSON.
        """
        if uri.getExtension() != ".json":
            raise RuntimeError(f"{uri} is not read: SPHEREx repositories keep package versions as .json only.")
        return super().read_from_uri(uri, component, expected_size)


class RefusedFormatter(FormatterV2):
    """Refuses storage classes that can only be kept as pickle or unsafe YAML."""

    can_read_from_uri: ClassVar[bool] = True

    @classmethod
    def validate_extension(cls, location: Location) -> None:
        """Refuse to ingest a file.

        Raises
        ------
        RuntimeError
            Always.
        """
        raise RuntimeError(f"{location.uri} is not ingested: {_REASON}")

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> NoReturn:
        """Refuse to read.

        Raises
        ------
        RuntimeError
            Always.
        """
        raise RuntimeError(f"{uri} is not read: {_REASON}")

    def to_bytes(self, in_memory_dataset: Any) -> NoReturn:
        """Refuse to write.

        Raises
        ------
        RuntimeError
            Always.
        """
        raise RuntimeError(f"{self.dataset_ref} is not written: {_REASON}")


_REASON = (
    "its storage class is kept as pickle or unsafe YAML by default, which SPHEREx repositories shut out. "
    "Use a storage class that is kept as parquet, FITS or JSON."
)
