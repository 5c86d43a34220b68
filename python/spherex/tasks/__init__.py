"""PipelineTasks of SPHEREx."""

from ._calibrated_subtract import (
    CalibratedSubtractConfig,
    CalibratedSubtractConnections,
    CalibratedSubtractTask,
    MissingCalibrationError,
)
from ._calibration_lookup import CalibrationLookup
from ._combine_dark import CombineDarkConfig, CombineDarkConnections, CombineDarkTask
from ._fork_server import PRELOADED, preload_fork_server
from ._measure_targets import MeasureTargetsConfig, MeasureTargetsConnections, MeasureTargetsTask
from ._quick_look import QuickLookConfig, QuickLookConnections, QuickLookTask
from ._subtract import SubtractConfig, SubtractConnections, SubtractTask

__all__ = [
    "PRELOADED",
    "CalibratedSubtractConfig",
    "CalibratedSubtractConnections",
    "CalibratedSubtractTask",
    "CalibrationLookup",
    "CombineDarkConfig",
    "CombineDarkConnections",
    "CombineDarkTask",
    "MeasureTargetsConfig",
    "MeasureTargetsConnections",
    "MeasureTargetsTask",
    "MissingCalibrationError",
    "QuickLookConfig",
    "QuickLookConnections",
    "QuickLookTask",
    "SubtractConfig",
    "SubtractConnections",
    "SubtractTask",
]

preload_fork_server()
