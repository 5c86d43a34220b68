"""Formatters that replace those of the Butler that can execute code from a file.

To read a pickle, or YAML with arbitrary tags, is to run the code in it. A
repository is shared, so its files must not be read in this way.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from lsst.daf.butler.formatters.packages import PackagesFormatter
from lsst.daf.butler.formatters.yaml import YamlFormatter

from spherex.errors import ProductError
from spherex.yamls import load_yaml

from .reading import ExplainedFormatter

if TYPE_CHECKING:
    import numpy as np
    from lsst.daf.butler import Location
    from lsst.resources import ResourcePath


class NumpyFormatter(ExplainedFormatter):
    """Formatter of numpy arrays in numpy's own format, without pickle."""

    __module__ = "spherex.formatters"  # Repositories record the class by this name.

    default_extension: ClassVar[str | None] = ".npy"
    can_read_from_uri: ClassVar[bool] = True

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> np.ndarray:
        """Read the array; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        ValueError
            If the file contains Python objects or is damaged.
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
            If the array contains Python objects, or is of a subclass.
        """
        import numpy as np

        if type(in_memory_dataset) is not np.ndarray:
            kind = type(in_memory_dataset).__name__
            raise ValueError(f"A {kind} would lose what numpy.ndarray lacks (mask, unit, ...): store its parts.")
        if in_memory_dataset.dtype.hasobject:
            raise ValueError("An array of Python objects cannot be stored; convert it to numbers or strings.")
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, in_memory_dataset, allow_pickle=False)
        return buffer.getvalue()


class JsonPackagesFormatter(ExplainedFormatter, PackagesFormatter):
    """Formatter of the versions of packages as JSON only."""

    __module__ = "spherex.formatters"  # Repositories record the class by this name.

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


class SafeYamlFormatter(ExplainedFormatter, YamlFormatter):
    """Formatter of dictionaries as YAML, whose numbers, aliases and nesting are bounded."""

    __module__ = "spherex.formatters"  # Repositories record the class by this name.

    supported_write_parameters: ClassVar[frozenset[str]] = frozenset()

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the value; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        ProductError
            If the file is not YAML, or stands for much more than its size.
        """
        try:
            return load_yaml(uri.read())
        except ProductError as error:
            raise ProductError(f"Cannot read {uri}: {error}") from None


class RefusedFormatter(ExplainedFormatter):
    """Formatter that refuses storage classes stored as pickle or unsafe YAML."""

    __module__ = "spherex.formatters"  # Repositories record the class by this name.

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
    "its storage class is stored as pickle or unsafe YAML by default, which SPHEREx repositories refuse. "
    "Use a storage class that is stored as parquet, FITS or JSON."
)
