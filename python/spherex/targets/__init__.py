"""Catalogues of targets on the sky."""

from __future__ import annotations

__all__ = ["CatalogProblem", "Registration", "check_catalog", "check_catalog_name", "read_catalog", "register_catalog"]

from .checking import CatalogProblem, check_catalog, check_catalog_name
from .files import read_catalog
from .registering import Registration, register_catalog
