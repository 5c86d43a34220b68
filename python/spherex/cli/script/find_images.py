"""``butler find-images``: from options to a table."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spherex.errors import SearchError, UserError, counted
from spherex.repository import open_repository
from spherex.search import FORMATS, Criteria, degrees_of, format_text, position_of, timespan_of_dates, write_table
from spherex.search import find_images as search

from . import user_errors, writing

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.daf.butler import Butler

    from spherex.search import FoundImages


_FILTERS = {
    "detector": "detectors",
    "survey": "surveys",
    "time-range": "timespan",
    "wavelength-range": "wavelengths",
    "where": "where",
}
"""Options that leave out images at the position, and their criteria."""

_FIELDS = {"exposure": frozenset({"timespan", "survey"}), "exposure_detector_region": frozenset({"region"})}


@user_errors()
def find_images(
    repo: str,
    position: Sequence[str],
    radius: str | None,
    dataset_type: str,
    collections: Sequence[str],
    calibrations: Sequence[str],
    instrument: str,
    detector: Sequence[int],
    survey: Sequence[str],
    time_range: tuple[str, str] | None,
    wavelength_range: tuple[float, float] | None,
    where: str,
    exact: bool,
    flags: bool,
    sort: str,
    show_uri: bool,
    output: str | None,
    overwrite: bool,
    processes: int,
) -> bool:
    """Print or write the images that contain a position.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    position
        Right ascension and declination, or a name that contains them.
    radius
        Radius of a circle that images must touch.
    dataset_type
        Name of the dataset type.
    collections
        Collections to search.
    calibrations
        Collections of the calibrations; empty for the default.
    instrument
        Name of the instrument.
    detector
        Detectors; empty for all.
    survey
        Surveys; empty for all.
    time_range
        Begin and end, UTC.
    wavelength_range
        Shortest and longest wavelength (um).
    where
        Further data query.
    exact
        Read the headers of all images.
    flags
        Read the flags at the pixel.
    sort
        ``time`` or ``wavelength``.
    show_uri
        Whether the text contains the URIs of the files.
    output
        File for the table.
    overwrite
        Whether that file may exist.
    processes
        Number of remote files that are read at the same time.

    Returns
    -------
    bool
        Whether every file that had to be read could be read.
    """
    ra, dec = position_of_arguments(repo, position)
    path = None if output is None else output_path(output, overwrite)
    criteria = Criteria(
        ra,
        dec,
        radius=radius_of(radius),
        instrument=instrument,
        dataset_type=dataset_type,
        collections=tuple(collections),
        detectors=tuple(detector),
        surveys=tuple(survey),
        timespan=None if time_range is None else timespan_of_dates(*time_range),
        wavelengths=wavelength_range,
        where=where,
        calibrations=tuple(calibrations) or None,
    )
    with open_repository(repo, writeable=False, fields=_FIELDS) as butler:
        found = search(
            butler,
            criteria,
            exact=exact,
            flags=flags,
            uris=show_uri or not (path is None or FORMATS[path.suffix] == FORMATS[".txt"]),
            sort=sort,
            threads=processes,
        )
        nothing = None if len(found.table) else _nothing(butler, criteria, found, exact or flags)
    for line in _remarks(found, exact or flags):
        click.echo(line, err=True)
    if nothing is not None:
        raise UserError(nothing)
    if path is None:
        click.echo(format_text(found.table))
        return not found.problems
    save_table(found.table, path)
    return not found.problems


def position_of_arguments(repo: str, arguments: Sequence[str]) -> tuple[float, float]:
    """Return the position; refuse a missing REPO.

    Parameters
    ----------
    repo
        First argument of the command.
    arguments
        The other arguments.

    Returns
    -------
    ra, dec
        ICRS (deg).

    Raises
    ------
    SearchError
        If the arguments are not a position.
    click.UsageError
        If an argument is missing.
    """
    try:
        return position_of(arguments)
    except SearchError:
        with contextlib.suppress(SearchError):
            position_of([repo, *arguments])
            raise click.UsageError(
                f"Missing argument 'REPO': {' '.join([repo, *arguments])!r} is a position."
            ) from None
        if len(arguments) == 1:
            with contextlib.suppress(SearchError):
                degrees_of(arguments[0])
                message = f"Missing argument 'DEC': {arguments[0]!r} is one angle, and a position is two."
                raise click.UsageError(message) from None
        raise


def radius_of(radius: str | None) -> float:
    """Return the value of --radius (deg), without the option 0.

    Parameters
    ----------
    radius
        Text of the user.

    Raises
    ------
    SearchError
        If it is not an angle.
    """
    try:
        return 0.0 if radius is None else degrees_of(radius)
    except SearchError as error:
        raise SearchError(f"--radius: {error}") from None


def output_path(output: str, overwrite: bool) -> Path:
    """Return the path of --output.

    Parameters
    ----------
    output
        Text of the user.
    overwrite
        Whether the file may exist.

    Raises
    ------
    click.BadParameter
        If its extension is not that of a format, or it exists.
    """
    path = Path(output)
    if path.suffix not in FORMATS:
        raise click.BadParameter(
            f"{output!r} does not have the extension of a format: {', '.join(FORMATS)}.", param_hint="--output"
        )
    # Other than Path.exists, it passes over a directory that may not be searched.
    if os.path.exists(path) and not overwrite:
        raise click.BadParameter(f"{output!r} exists; use --overwrite to replace it.", param_hint="--output")
    return path


def save_table(table: Table, path: Path) -> None:
    """Write a table of images and print its path.

    Parameters
    ----------
    table
        The table.
    path
        File, as `output_path` returns it.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    with writing(path):
        write_table(table, path)
    click.echo(f"{counted(len(table), 'image')}: {path}")


def _remarks(found: FoundImages, exact: bool) -> list[str]:
    lines = list(found.problems)
    if found.without_wavelength:
        detectors = ", ".join(map(str, found.without_wavelength))
        more = ", which the images do not contain either" if exact else ", or read them from the images with --exact"
        lines.append(
            f"The wavelengths of some images of detector {detectors} are not known: ingest the calibration "
            f"spectral_wcs (butler ingest-calibrations){more}."
        )
    return lines


def _nothing(butler: Butler, criteria: Criteria, found: FoundImages, exact: bool) -> str:
    """Return a message on the criteria that no image meets."""
    place = f"RA {criteria.ra:.6f}, Dec {criteria.dec:.6f}"
    verbs, pixel_place = ("contains", "contain"), "there"
    if criteria.radius:
        place = f"the circle of {criteria.radius:g} deg around {place}"
        verbs, pixel_place = ("touches", "touch"), "at the position or the pixel nearest to it"
    images = f"{criteria.dataset_type} of {criteria.instrument} in {', '.join(criteria.collections)}"

    def clauses(number: int) -> tuple[str, str]:
        return f"{counted(number, 'image')} of {images}", f"{verbs[number > 1]} {place}"

    if found.at_any_wavelength and criteria.wavelengths is not None:
        shortest, longest = criteria.wavelengths
        subject, predicate = clauses(found.at_any_wavelength)
        none = "not" if found.at_any_wavelength == 1 else "none"
        return (
            f"{subject}, of detectors that may have such wavelengths, {predicate}, "
            f"but {none} with a wavelength from {shortest} to {longest} um {pixel_place}."
        )
    given = [f"--{option}" for option, field in _FILTERS.items() if getattr(criteria, field)]
    if exact:
        given.append("--exact")
    where = {name: getattr(criteria, name) for name in ("radius", "instrument", "dataset_type", "collections")}
    count = len(search(butler, Criteria(criteria.ra, criteria.dec, **where), uris=False).table) if given else 0
    subject, predicate = clauses(count)
    if count == 1:
        return f"{subject} {predicate}, but does not meet {' and '.join(given)}."
    if count:
        return f"{subject} {predicate}, but none of them meets {' and '.join(given)}."
    return f"No image of {images} {verbs[0]} {place}."
