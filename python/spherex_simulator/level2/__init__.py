"""Simulated Level 2 images in the form of the public archive."""

from .frame import Level2Frame, simulate_level2
from .releases import RELEASES, Level2Settings, Release
from .sources import SourceFileError, read_sources
from .survey import simulate_level2_survey

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
