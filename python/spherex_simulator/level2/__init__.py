"""Simulated Level 2 images in the form of the public archive."""

from ._frame import Level2Frame, simulate_level2
from ._releases import RELEASES, Release
from ._settings import Level2Settings
from ._sources import SourceFileError, read_sources
from ._survey import simulate_level2_survey

__all__ = [
    "RELEASES",
    "Level2Frame",
    "Level2Settings",
    "Release",
    "SourceFileError",
    "read_sources",
    "simulate_level2",
    "simulate_level2_survey",
]
