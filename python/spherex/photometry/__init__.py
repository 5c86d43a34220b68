"""Fluxes of point sources in images; knows no Butler."""

from ._profiles import Profiles

__all__ = ["Profiles"]
