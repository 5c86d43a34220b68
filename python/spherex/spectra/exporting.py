"""Spectra of patches in files for other programs."""

from __future__ import annotations

import shutil
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spherex.detectors import ROWS_OF_A_GROUP

from .channels import CHANNEL_COLUMNS
from .patches import TARGETS, arrow_schema, patch_meta, spectrum_in
from .tables import COLUMNS, SpectrumColumn, make_plain_table

if TYPE_CHECKING:
    from astropy.table import Table

POSITION_COLUMNS = (
    SpectrumColumn("ra", float, "pos.eq.ra;meta.main", "Right ascension of the target, ICRS", "deg"),
    SpectrumColumn("dec", float, "pos.eq.dec;meta.main", "Declination of the target, ICRS", "deg"),
)
"""Columns that tables of many targets have beside those of their spectra."""

EXTENSIONS = {"ecsv": ".ecsv", "votable": ".vot"}
"""Formats with a file for each target, and the extension of their files."""

_SAFE = " +-_.()"
"""Characters that names of files have, besides letters and digits."""


def with_positions(patch: pa.Table) -> pa.Table:
    """Return the table of a patch with `POSITION_COLUMNS`, and metadata for `astropy.table`.

    Parameters
    ----------
    patch
        As `gather_patch` or `combine_patch` return it.
    """
    from lsst.daf.butler.formatters.parquet import astropy_to_arrow

    own = CHANNEL_COLUMNS if "channel" in patch.column_names else COLUMNS
    columns = (own[0], *POSITION_COLUMNS, *own[1:])
    known = patch_meta(patch)[TARGETS]
    encoded = patch["target"].combine_chunks().dictionary_encode()
    for place, field in enumerate(arrow_schema(POSITION_COLUMNS), start=1):
        values = np.array([known[name][field.name] for name in encoded.dictionary.to_pylist()], float)
        patch = patch.add_column(place, field, pa.array(values[encoded.indices.to_numpy()]))
    described = astropy_to_arrow(make_plain_table({}, 0, columns)).schema.metadata
    metadata = {**patch.schema.metadata, b"table_meta_yaml": described[b"table_meta_yaml"]}
    return patch.replace_schema_metadata(metadata)


def write_patch(patch: pa.Table, path: Path, form: str) -> int:
    """Write the spectra of a patch, all or nothing.

    Parameters
    ----------
    patch
        As `gather_patch` or `combine_patch` return it.
    path
        A parquet file, or for other formats a directory with a file for each
        target; replaced if it exists.
    form
        ``parquet``, or one of `EXTENSIONS`.

    Returns
    -------
    number
        Number of targets.
    """
    names = patch["target"].unique().to_pylist()
    aside = path.with_name(f"{path.name}.incomplete")
    if form == "parquet":
        pq.write_table(with_positions(patch), aside, row_group_size=ROWS_OF_A_GROUP)
    else:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for name in names:
            spectrum: Table = spectrum_in(patch, name)
            file = aside / f"{urllib.parse.quote(name, safe=_SAFE)}{EXTENSIONS[form]}"
            spectrum.write(file, format="votable" if form == "votable" else "ascii.ecsv")
        shutil.rmtree(path, ignore_errors=True)
    aside.replace(path)
    return len(names)
