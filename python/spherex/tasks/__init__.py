"""PipelineTasks of SPHEREx."""

from __future__ import annotations

__all__ = [
    "CalibratedSubtractConfig",
    "CalibratedSubtractConnections",
    "CalibratedSubtractTask",
    "CombineChannelsConfig",
    "CombineChannelsConnections",
    "CombineChannelsTask",
    "CombineDarkConfig",
    "CombineDarkConnections",
    "CombineDarkTask",
    "CompareInjectedConfig",
    "CompareInjectedConnections",
    "CompareInjectedTask",
    "DrawSpectrumConfig",
    "DrawSpectrumConnections",
    "DrawSpectrumTask",
    "GatherSpectraConfig",
    "GatherSpectraConnections",
    "GatherSpectraTask",
    "InjectSourcesConfig",
    "InjectSourcesConnections",
    "InjectSourcesTask",
    "MeasureErrorScaleConfig",
    "MeasureErrorScaleConnections",
    "MeasureErrorScaleTask",
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
    "uncalibrated_line",
]

from .combine_channels import CombineChannelsConfig, CombineChannelsConnections, CombineChannelsTask
from .combine_dark import CombineDarkConfig, CombineDarkConnections, CombineDarkTask
from .gather_spectra import GatherSpectraConfig, GatherSpectraConnections, GatherSpectraTask
from .inject_sources import (
    CompareInjectedConfig,
    CompareInjectedConnections,
    CompareInjectedTask,
    InjectSourcesConfig,
    InjectSourcesConnections,
    InjectSourcesTask,
)
from .measure_error_scale import MeasureErrorScaleConfig, MeasureErrorScaleConnections, MeasureErrorScaleTask
from .measure_targets import (
    MeasureTargetsConfig,
    MeasureTargetsConnections,
    MeasureTargetsTask,
    uncalibrated_line,
)
from .plots import (
    DrawSpectrumConfig,
    DrawSpectrumConnections,
    DrawSpectrumTask,
    QuickLookConfig,
    QuickLookConnections,
    QuickLookTask,
)
from .subtract import (
    CalibratedSubtractConfig,
    CalibratedSubtractConnections,
    CalibratedSubtractTask,
    MissingCalibrationError,
    SubtractConfig,
    SubtractConnections,
    SubtractTask,
)
