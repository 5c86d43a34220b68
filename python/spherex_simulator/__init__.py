"""The SPHEREx simulator: images as the real telescope could take them, with the truth beside."""

from ._files import FileNames
from ._frame import Frame, simulate_frame
from ._settings import DEFAULT_START, Settings
from ._survey import SurveyError, simulate_survey

__all__ = [
    "DEFAULT_START",
    "FileNames",
    "Frame",
    "Settings",
    "SurveyError",
    "simulate_frame",
    "simulate_survey",
]
