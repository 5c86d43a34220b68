"""Catalogues of targets on the sky."""

from .checking import CatalogProblem, check_catalog, check_catalog_name
from .files import CatalogError
from .motion import positions_at
from .reading import read_catalog
from .registering import CATALOG_TYPE, Registration, catalog_collection, register_catalog

__all__ = [
    "CATALOG_TYPE",
    "CatalogError",
    "CatalogProblem",
    "Registration",
    "catalog_collection",
    "check_catalog",
    "check_catalog_name",
    "positions_at",
    "read_catalog",
    "register_catalog",
]
