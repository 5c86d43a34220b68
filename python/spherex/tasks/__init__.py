"""PipelineTasks of SPHEREx."""

from ._calibrated_subtract import (
    CalibratedSubtractConfig,
    CalibratedSubtractConnections,
    CalibratedSubtractTask,
    MissingCalibrationError,
)
from ._calibration_lookup import CalibrationLookup
from ._combine_channels import CombineChannelsConfig, CombineChannelsConnections, CombineChannelsTask
from ._combine_dark import CombineDarkConfig, CombineDarkConnections, CombineDarkTask
from ._draw_spectrum import DrawSpectrumConfig, DrawSpectrumConnections, DrawSpectrumTask
from ._fork_server import PRELOADED, preload_fork_server
from ._gather_spectra import GatherSpectraConfig, GatherSpectraConnections, GatherSpectraTask
from ._measure_targets import MeasureTargetsConfig, MeasureTargetsConnections, MeasureTargetsTask
from ._quick_look import QuickLookConfig, QuickLookConnections, QuickLookTask
from ._subtract import SubtractConfig, SubtractConnections, SubtractTask

__all__ = [
    "PRELOADED",
    "CalibratedSubtractConfig",
    "CalibratedSubtractConnections",
    "CalibratedSubtractTask",
    "CalibrationLookup",
    "CombineChannelsConfig",
    "CombineChannelsConnections",
    "CombineChannelsTask",
    "CombineDarkConfig",
    "CombineDarkConnections",
    "CombineDarkTask",
    "DrawSpectrumConfig",
    "DrawSpectrumConnections",
    "DrawSpectrumTask",
    "GatherSpectraConfig",
    "GatherSpectraConnections",
    "GatherSpectraTask",
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
