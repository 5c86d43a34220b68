"""Catalogues of targets in files of all formats, and what becomes of them in a repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
from astropy.table import Table
from lsst.daf.butler import Butler
from lsst.daf.butler.formatters.parquet import astropy_to_arrow

from .ingest_helpers import Outcome, butler_command

EXTENSIONS = (".csv", ".ecsv", ".fits", ".vot", ".parquet")


def write(path: Path, table: Table) -> Path:
    """Write a table in the format that its extension tells."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(astropy_to_arrow(table), path)
    else:
        formats = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv", ".fits": "fits", ".vot": "votable"}
        table.write(path, format=formats[path.suffix], overwrite=True)
    return path


def write_csv(path: Path, *rows: str, header: str = "name,ra,dec") -> Path:
    """Write lines."""
    path.write_text("".join(f"{line}\n" for line in (header, *rows)), encoding="utf-8")
    return path


def register(repo: Path, catalog: str, file: object, *options: object) -> Outcome:
    """Give ``butler register-targets``."""
    return butler_command("register-targets", repo, catalog, file, *options)


def records(repo: Path, catalog: str) -> dict[str, Any]:
    """Return the records of the targets of a catalogue by name."""
    with Butler.from_config(str(repo)) as butler:
        found = butler.query_dimension_records("target", catalog=catalog, explain=False, limit=None)
        return {record.name: record for record in found}


def positions(repo: Path, catalog: str) -> dict[str, tuple[float, float]]:
    """Return right ascension and declination (deg) of the targets of a catalogue by name."""
    return {name: (record.ra, record.dec) for name, record in records(repo, catalog).items()}


def kept(repo: Path, catalog: str) -> Table:
    """Return the newest table of a catalogue."""
    with Butler.from_config(str(repo)) as butler:
        return butler.get("target_catalog", catalog=catalog, collections=f"catalogs/{catalog}")


def content(repo: Path) -> dict[str, Sequence[str]]:
    """Return all catalogues, targets, datasets and collections of a repository."""
    with Butler.from_config(str(repo)) as butler:
        found: dict[str, Sequence[str]] = {}
        for element in ("catalog", "target"):
            rows = butler.query_dimension_records(element, explain=False, limit=None)
            found[element] = sorted(str(row.toDict()) for row in rows)
        found["collections"] = sorted(map(str, butler.collections.query_info("*")))
        types = {one.name for one in butler.registry.queryDatasetTypes()}
        found["datasets"] = sorted(
            str(ref)
            for name in types & {"target_catalog"}
            for ref in butler.query_datasets(name, "*", find_first=False, explain=False, limit=None)
        )
        return found


NOTHING: dict[str, Sequence[str]] = {"catalog": [], "target": [], "collections": [], "datasets": []}
"""Content of an empty repository."""
