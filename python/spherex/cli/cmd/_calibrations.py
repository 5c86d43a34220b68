"""Options that the commands for calibrations share."""

from __future__ import annotations

__all__ = ["calibration_collection_option", "detector_option", "validity_options"]

from collections.abc import Callable
from typing import Any

import click

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def calibration_collection_option() -> _Decorator:
    """Return an option for the CALIBRATION collection."""
    return click.option(
        "--collection",
        default="SPHEREx/calib",
        show_default=True,
        help="Name of the CALIBRATION collection.",
    )


def detector_option() -> _Decorator:
    """Return an option for some detectors."""
    return click.option(
        "--detector",
        "detectors",
        type=click.IntRange(min=0),
        multiple=True,
        help="Number of a detector; may be given several times. Default is all, and types without a detector.",
    )


def validity_options(begin: str, end: str) -> _Decorator:
    """Return options for a range of time.

    Parameters
    ----------
    begin, end
        What the two limits are for.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--end-date", help=f"{end} ISO 8601, TAI, exclusive. Default is no limit.")(command)
        return click.option("--begin-date", help=f"{begin} ISO 8601, TAI. Default is no limit.")(command)

    return decorate
