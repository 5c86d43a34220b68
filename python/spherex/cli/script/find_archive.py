"""``butler find-archive``: from a position to images of the archive in a repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import numpy as np
from astropy.time import Time

from spherex.detectors import CATALOG_TYPE, LEVEL2_TYPE, catalog_collection
from spherex.errors import SearchError, counted
from spherex.ingest import Level2Translator, is_ingested
from spherex.remote import go_unsigned_without_credentials
from spherex.repository import open_repository
from spherex.search import IMAGE_SERVICE, TABLE_SERVICE, ArchiveService, Criteria, check_radius, position_of_name
from spherex.spectra import catalog_of, positions_at
from spherex.unknown_names import unknown_name

from . import user_errors
from .find_images import output_path, position_of_arguments, radius_of, save_table
from .ingest import ingest_level2

if TYPE_CHECKING:
    from astropy.table import Table
    from lsst.daf.butler import Butler

    from spherex.search import ArchiveImage


_POINT = 1.0 / 3600.0
"""Radius where the user names none (deg): SIA requires a circle."""

_ANY_TIME = 51544.0
"""Stands for unknown times, which are masked (MJD)."""

_FIELDS = {"target": frozenset({"ra", "dec"})}


@user_errors()
def find_archive(
    repo: str,
    position: Sequence[str],
    catalog: str | None,
    radius: str | None,
    archive_collection: Sequence[str],
    access: str,
    service: str | None,
    timeout: float,
    dry_run: bool,
    output: str | None,
    overwrite: bool,
    processes: int,
) -> bool:
    """Find images in the archive, and ingest those that are not in the repository.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    position
        Right ascension and declination, or a name; empty for a catalogue.
    catalog
        Name of a catalogue of the repository; `None` for a position.
    radius
        Radius of a circle that images must touch.
    archive_collection
        Collections of the archive; empty for all of Level 2 images.
    access
        ``s3`` or ``https``: which URIs of the images are ingested.
    service
        URI of the service; `None` for that of the archive.
    timeout
        Longest time without an answer of the service (s).
    dry_run
        Ingest nothing.
    output
        File for a table of the images.
    overwrite
        Whether that file may exist.
    processes
        Number of threads that read headers.

    Returns
    -------
    bool
        Whether the answer is complete, and every image of it is in the
        repository, or would be.
    """
    if bool(position) == (catalog is not None):
        raise click.UsageError("Name a position (RA DEC or NAME), or a catalogue of the repository by --catalog.")
    path = None if output is None else output_path(output, overwrite)
    degrees = radius_of(radius)
    # Position and radius have the limits of find-images, which are checked here.
    check_radius(
        degrees,
        "give several smaller ones, or a list of URIs from the archive's own search to butler ingest-level2",
    )
    archive = ArchiveService(
        service or (IMAGE_SERVICE if catalog is None else TABLE_SERVICE),
        **({"collections": archive_collection} if archive_collection else {}),
        timeout=timeout,
    )
    translator = Level2Translator(LEVEL2_TYPE, None, None)
    with open_repository(
        repo, writeable=False, fields={**translator.fields, **({} if catalog is None else _FIELDS)}
    ) as butler:
        if catalog is None:
            ra, dec = _position(repo, position)
            Criteria(ra, dec)
            place = f"at RA {ra:.6f}, Dec {dec:.6f}"
            answer = archive.images_at(ra, dec, degrees or _POINT)
        else:
            targets = _targets(butler, repo, catalog)
            place = f"of {counted(len(targets), 'target')} of {catalog}"
            answer = archive.images_of(targets, degrees)
        known = is_ingested(butler, translator, [image.uri for image in answer.images])
    for fault in answer.faults:
        click.echo(f"{fault}.", err=True)
    uris = [image.cloud_uri if access == "s3" else image.uri for image in answer.images]
    if not uris:
        raise SearchError(f"{archive.uri} has no Level 2 image {place} in {', '.join(archive.collections)}.")
    new = [uri for uri, is_known in zip(uris, known, strict=True) if not is_known]
    if lacking := new.count(""):
        raise SearchError(f"{counted(lacking, 'new image')} without a copy in the cloud: use --access https.")
    older = f"; {counted(answer.older, 'older version')} left out" if answer.older else ""
    click.echo(
        f"{counted(len(uris), 'image')} {place} in the archive: {len(new)} new, {len(uris) - len(new)} in {repo}{older}"
    )
    if path is not None:
        save_table(_table(answer.images, uris, known), path)
    is_complete = not answer.faults
    if dry_run or not new:
        return is_complete
    if access == "s3" and go_unsigned_without_credentials():
        click.echo("There are no AWS credentials: set AWS_NO_SIGN_REQUEST=YES to read the images later, too.")
    is_ingested_now = ingest_level2(
        repo, new, processes=processes, transfer="direct", skip_existing=True, track_file_attrs=False
    )
    return is_complete and is_ingested_now


def _position(repo: str, arguments: Sequence[str]) -> tuple[float, float]:
    """Return the position; ask for that of a name."""
    try:
        return position_of_arguments(repo, arguments)
    except SearchError:
        name = " ".join(arguments)
        if not any(character.isalpha() for character in name):
            raise
    # The images are of the years since 2025.
    position = positions_at(catalog_of(position_of_name(name)), Time.now())[0]
    ra, dec = float(position.ra.deg), float(position.dec.deg)
    click.echo(f"{name}: RA {ra:.6f}, Dec {dec:.6f} (Sesame)")
    return ra, dec


def _targets(butler: Butler, repo: str, catalog: str) -> Table:
    """Return the positions of a catalogue today."""
    from astropy.table import Table
    from lsst.daf.butler import DataIdValueError, DatasetNotFoundError, MissingCollectionError, MissingDatasetTypeError

    try:
        targets = butler.get(CATALOG_TYPE, catalog=catalog, collections=catalog_collection(catalog))
    except (DatasetNotFoundError, MissingCollectionError, MissingDatasetTypeError, DataIdValueError):
        raise SearchError(unknown_name(butler, "catalogue", catalog)) from None
    positions = positions_at(targets, Time.now())
    return Table([positions.ra, positions.dec], names=["ra", "dec"])


def _table(images: Sequence[ArchiveImage], uris: Sequence[str], known: Sequence[bool]) -> Table:
    """Return the table of images, a list that ingest-level2 reads."""
    from astropy import units
    from astropy.table import Column, MaskedColumn, Table

    begins = np.array([image.begin for image in images])
    is_unknown = np.isnan(begins)
    times = Time(np.where(is_unknown, _ANY_TIME, begins), format="mjd").isot
    columns = [
        ("name", [str(image.name.observation) for image in images], str, None, "Name of the exposure"),
        ("detector", [image.name.detector for image in images], np.int64, None, "Detector number"),
        ("time", times, str, None, "Begin of the exposure (UTC)"),
        ("mjd", begins, np.float64, units.day, "Begin of the exposure, modified Julian date (UTC)"),
        ("archive_collection", [image.collection for image in images], str, None, "Collection of the archive"),
        ("run", [str(image.name.run) for image in images], str, None, "Processing run"),
        ("is_new", [not is_known for is_known in known], bool, None, "Whether it was not in the repository"),
        ("address", list(uris), str, None, "URI of the file"),
    ]
    table = Table([Column(data, name, dtype, unit=unit, description=text) for name, data, dtype, unit, text in columns])
    if is_unknown.any():
        for name in ("time", "mjd"):
            table[name] = MaskedColumn(table[name], mask=is_unknown)
    table["mjd"].format = ".7f"
    return table
