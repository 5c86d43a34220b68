"""The SPHEREx simulator: images as the real telescope could take them, and their truth."""

from .frame import Frame, simulate_frame
from .settings import DEFAULT_START, Settings
from .survey import FileNames, SurveyError, simulate_survey

__all__ = [
    "DEFAULT_START",
    "FileNames",
    "Frame",
    "Settings",
    "SurveyError",
    "simulate_frame",
    "simulate_survey",
]
