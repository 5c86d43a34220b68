"""``butler find-images``."""

from __future__ import annotations

__all__ = ["find_images"]

from typing import Any

import click
from lsst.daf.butler.cli.opt import (
    collections_option,
    options_file_option,
    processes_option,
    repo_argument,
    where_option,
)
from lsst.daf.butler.cli.utils import ButlerCommand


# Declinations may be negative, and are no options then.
@click.command(
    "find-images",
    cls=ButlerCommand,
    short_help="Find the images that contain a position.",
    context_settings={"ignore_unknown_options": True},
)
@repo_argument(required=True, help="REPO is the URI or path of an existing repository.")
@click.argument("position", nargs=-1, required=True, metavar="RA DEC | NAME")
@click.option("--radius", help="Find images that touch a circle of this radius, in degrees or with a unit (10arcmin).")
@click.option("--dataset-type", default="level2", show_default=True, help="Dataset type of the images.")
@collections_option(
    default=("SPHEREx/level2",),
    help="Collections to search. If several have an image, that of the first one is listed. Default: SPHEREx/level2, "
    "newest processing first.",
)
@click.option("--instrument", default="SPHEREx", show_default=True, help="Name of the instrument.")
@click.option("--detector", type=int, multiple=True, help="Number of a detector; can be given several times.")
@click.option("--survey", multiple=True, help="Survey, such as all_sky or deep_north; can be given several times.")
@click.option(
    "--time-range",
    nargs=2,
    metavar="BEGIN END",
    help="Exposures that overlap this time: two dates, UTC, such as 2025-06-01 2025-07-01T12:00:00.",
)
@click.option(
    "--wavelength-range",
    nargs=2,
    type=float,
    metavar="MIN MAX",
    help="Wavelengths at the position (um); of images that only touch the circle of --radius, at the nearest pixel.",
)
@where_option(help="Further condition, in the query language of the Butler.")
@click.option(
    "--exact",
    is_flag=True,
    help="Read the headers of all images for exact pixels, and list only files that hold the position, which not all "
    "cutouts do. Without it only headers of images near whose edges the position is are read.",
)
@click.option("--flags", is_flag=True, help="Read the flags at the pixel, too; as --exact.")
@click.option(
    "--sort", type=click.Choice(["time", "wavelength"]), default="time", show_default=True, help="Order of the rows."
)
@click.option("--show-uri", is_flag=True, help="Show the addresses of the files, too; tables of --output have them.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="Write the table to this file, .txt, .ecsv, .parquet, .vot or .xml (VOTable), instead of printing it.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --output.")
@processes_option(default=8, help="Number of remote files that are read at the same time.")
@options_file_option()
def find_images(**kwargs: Any) -> None:
    """Find the images that contain a position.

    RA and DEC are in degrees, ICRS, RA from -180 to 360, or have a unit
    (20h32m06.5s 38d21m00s). A NAME has to contain the coordinates, such as
    J203206+382100. The table tells time, wavelength and pixel of the position
    in each image, from what the repository knows. The exit status is 1 if
    there is no image.
    """
    from ..script import find_images as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)
