"""Catalogues of targets on the sky."""

from __future__ import annotations

__all__ = [
    "CatalogProblem",
    "Coverage",
    "Motion",
    "Registration",
    "check_catalog",
    "check_catalog_name",
    "check_file_name",
    "coincident_names",
    "coverage_of",
    "is_catalog_file",
    "read_catalog",
    "register_catalog",
    "similar_files",
    "similar_names",
    "target_records",
]

from .checking import CatalogProblem, check_catalog, check_catalog_name, coincident_names, similar_names
from .columns import Motion, read_catalog
from .coverage import Coverage, coverage_of
from .files import check_file_name, is_catalog_file, similar_files
from .registering import Registration, register_catalog, target_records
