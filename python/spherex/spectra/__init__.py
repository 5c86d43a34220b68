"""Spectra of targets: from the measurements in single images to tables and pictures."""

from .columns import COLUMNS, SpectrumColumn, make_table

__all__ = ["COLUMNS", "SpectrumColumn", "make_table"]
