"""Spectra of targets: from the measurements in single images to tables and pictures."""

from .channels import CHANNEL_COLUMNS, Channels, channels_of_product, combine_channels, design_channels
from .columns import COLUMNS, SpectrumColumn, make_table, unmasked
from .gathering import gather_spectrum
from .picture import draw_spectrum

__all__ = [
    "CHANNEL_COLUMNS",
    "COLUMNS",
    "Channels",
    "SpectrumColumn",
    "channels_of_product",
    "combine_channels",
    "design_channels",
    "draw_spectrum",
    "gather_spectrum",
    "make_table",
    "unmasked",
]
