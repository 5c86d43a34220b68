"""Spectra of targets: from the measurements in single images to tables and pictures."""

from ._rows import MICROJANSKY
from .channels import CHANNEL_COLUMNS, Channels, channels_of_product, combine_channels, design_channels
from .columns import COLUMNS, SpectrumColumn, make_table, unmasked
from .gathering import gather_spectrum
from .inputs import Calibration, Calibrations, ImageSource, MeasureSettings
from .measuring import failed_table, measure_targets
from .misfits import find_misfits
from .picture import draw_spectrum
from .pixel_properties import PixelMap, PlaneWavelengths

__all__ = [
    "CHANNEL_COLUMNS",
    "COLUMNS",
    "MICROJANSKY",
    "Calibration",
    "Calibrations",
    "Channels",
    "ImageSource",
    "MeasureSettings",
    "PixelMap",
    "PlaneWavelengths",
    "SpectrumColumn",
    "channels_of_product",
    "combine_channels",
    "design_channels",
    "draw_spectrum",
    "failed_table",
    "find_misfits",
    "gather_spectrum",
    "make_table",
    "measure_targets",
    "unmasked",
]
