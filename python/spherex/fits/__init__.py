"""The SPHEREx product in FITS files: reading, writing, and quick looks at headers."""

from __future__ import annotations

__all__ = [
    "ByteSource",
    "Compression",
    "FLAGS",
    "HDUInfo",
    "IMAGE",
    "MemorySource",
    "PROVENANCE_PREFIX",
    "PROVENANCE_STARTS",
    "ProductFile",
    "VARIANCE",
    "WCS_WAVE",
    "WriteRecipe",
    "check_layout",
    "control_points_in",
    "find_hdu",
    "flag_table_of",
    "header_bytes",
    "history_of",
    "issue_digest",
    "open_product",
    "open_source",
    "parse_recipes",
    "read_array",
    "read_many",
    "read_product",
    "scan_hdus",
    "write_product",
]

from spherex.image import WCS_WAVE

from .arrays import read_array
from .byte_sources import ByteSource, MemorySource, open_source, read_many
from .cards import header_bytes, history_of
from .flag_names import flag_table_of
from .hdus import (
    FLAGS,
    IMAGE,
    PROVENANCE_PREFIX,
    PROVENANCE_STARTS,
    VARIANCE,
    HDUInfo,
    check_layout,
    find_hdu,
    issue_digest,
    scan_hdus,
)
from .reading import ProductFile, open_product, read_product
from .wavelength_tables import control_points_in
from .writing import Compression, WriteRecipe, parse_recipes, write_product
