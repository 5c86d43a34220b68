"""Spectra of patches in files for other programs."""

from __future__ import annotations

import base64
import importlib.resources
import io
import itertools
import json
import re
import shutil
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spherex.detectors import ROWS_OF_A_GROUP
from spherex.errors import UserError
from spherex.image import Compass

from .channels import CHANNEL_COLUMNS
from .finders import MARKS, place_in
from .patches import TARGETS, arrow_schema, patch_meta, spectrum_in, summarize_patch
from .plot import DETECTOR_COLOURS
from .tables import COLUMNS, SpectrumColumn, describe_columns, make_plain_table

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.io.fits import BinTableHDU
    from astropy.io.votable.tree import VOTableFile
    from astropy.table import QTable

    from spherex.image import SPHERExImage

Stamp: TypeAlias = Mapping[str, object]
"""Picture of the surroundings of a target, see `make_stamp`, with ``title``."""

POSITION_COLUMNS = (
    SpectrumColumn("ra", float, "pos.eq.ra;meta.main", "Right ascension of the target, ICRS", "deg"),
    SpectrumColumn("dec", float, "pos.eq.dec;meta.main", "Declination of the target, ICRS", "deg"),
    SpectrumColumn("pmra", float, "pos.pm;pos.eq.ra", "Proper motion in right ascension, with cos(dec)", "mas / yr"),
    SpectrumColumn("pmdec", float, "pos.pm;pos.eq.dec", "Proper motion in declination", "mas / yr"),
    SpectrumColumn("ref_epoch", float, "meta.ref;time.epoch", "Julian year of ra and dec of a target that moves", "yr"),
)
"""Columns that tables of many targets have beside those of their spectra; NaN where no motion is recorded."""

EXTENSIONS = {"ecsv": ".ecsv", "votable": ".vot", "fits": ".fits"}
"""Formats with a file for each target, and the extension of their files."""

SINGLE_FILES = {"parquet": ".parquet", "html": ".html", "multispectrum": ".vot"}
"""Formats with a file for each patch, and the extension of their files."""

INPUT_COLUMNS = (
    "image_id", "catalog_id", "spectral_wcs_id", "solid_angle_id", "psf_id", "flux_correction_id", "error_scale_id",
)  # fmt: skip
"""Columns with the UUIDs of the datasets that made a measurement."""

_SHOWN = (
    "wavelength", "flux", "flux_error", "detector", "good", "quality_names", "image_run", "wavelength_source",
    "solid_angle_source", "psf_source", *INPUT_COLUMNS,
)  # fmt: skip
"""Columns of the measurements on a page."""

_UTYPES = {
    "wavelength": "spec:Spectrum.Data.SpectralAxis.Value",
    "flux": "spec:Spectrum.Data.FluxAxis.Value",
    "flux_error": "spec:Spectrum.Data.FluxAxis.Accuracy.StatError",
    "time": "spec:Spectrum.Data.TimeAxis.Value",
}
"""Elements of the Spectrum Data Model of the IVOA, version 1.1."""

INDEX = "index.html"
"""Page of all targets of an output directory."""

_SUMMARY = '<script id="targets-data" type="application/json">'
"""Begin of the line of a page that contains its targets, near its top: the index reads no more."""

_MOST_LINES = 20
"""Number of lines of a page among which that one is."""

_PLACE = "\0"
"""Stands for the targets, which are written page by page."""

_COMMON = {"style": "style.css", "table": "table.js"}
"""Parts that all pages have."""

_INDEXED = ("name", "ra", "dec", "measurements", "good", "signal")
"""What the index contains of each target."""

_LONGEST_KEYWORD = 8
"""Characters of a keyword of FITS."""

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
        values = np.array([known[name].get(field.name, np.nan) for name in encoded.dictionary.to_pylist()], float)
        patch = patch.add_column(place, field, pa.array(values[encoded.indices.to_numpy()]))
    described = astropy_to_arrow(make_plain_table({}, 0, columns)).schema.metadata
    metadata = {**patch.schema.metadata, b"table_meta_yaml": described[b"table_meta_yaml"]}
    return patch.replace_schema_metadata(metadata)


def make_stamp(image: SPHERExImage, position: SkyCoord, detector: int) -> dict[str, object]:
    """Return a picture of an image, with a pixel for each pixel, and what a page draws on it.

    Parameters
    ----------
    image
        Cutout around a target.
    position
        Position of the target at the time of the image.
    detector
        Detector of the image.

    Returns
    -------
    stamp
        ``picture``, a data URI of ``columns`` and ``rows``; ``detector``;
        ``place``, column and row of the target; if the middle is on the sky,
        ``east`` and ``north``, steps of one pixel in columns and rows, and the
        length ``bar`` (pixels) and ``bar_label`` of a scale bar.
    """
    import matplotlib
    from astropy.visualization import ZScaleInterval
    from matplotlib.image import imsave

    data = np.asarray(image.data, float)
    low, high = ZScaleInterval().get_limits(data) if np.isfinite(data).any() else (0.0, 1.0)
    file = io.BytesIO()
    # As in `spherex.image.draw_image`.
    colours = matplotlib.colormaps["inferno"].with_extremes(bad="0.5")
    imsave(file, np.ma.masked_invalid(data), vmin=low, vmax=high, cmap=colours, origin="lower", format="png")
    rows, columns = data.shape
    stamp: dict[str, object] = {
        "picture": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}",
        "columns": columns,
        "rows": rows,
        "detector": detector,
        "place": place_in(image, position, detector).round(2).tolist(),
    }
    compass = None if image.wcs is None else Compass.of(image.wcs.celestial, data.shape)
    if compass is not None:
        stamp |= {"east": compass.east.round(3).tolist(), "north": compass.north.round(3).tolist()}
        stamp |= {"bar": round(compass.bar, 2), "bar_label": compass.label}
    return stamp


def _make_page(patch: pa.Table, inputs: Mapping[str, Mapping[str, str]], stamps: Mapping[str, Sequence[Stamp]]) -> str:
    """Return a page of the spectra of a patch, with all that a browser needs to show it."""
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise UserError("the format html needs plotly: pip install 'spherex-butler[html]'.") from None
    if "channel" in patch.column_names:
        raise UserError("the format html shows measurements, not means in channels: leave out --dataset-type.")
    meta = patch_meta(patch)
    targets: list[dict[str, Any]] = []
    spectra = []
    for summary in summarize_patch(patch):
        name = summary.name
        rows = spectrum_in(patch, name)
        known = meta[TARGETS][name]
        place = {column.name: float(known[column.name]) for column in POSITION_COLUMNS if column.name in known}
        targets.append(
            {
                "name": name,
                **place,
                "measurements": summary.measurements,
                "good": summary.good,
                "signal": round(summary.signal, 2) if np.isfinite(summary.signal) else None,
            }
        )
        values = {column: np.asarray(getattr(rows[column], "value", rows[column])).tolist() for column in _SHOWN}
        # JSON has neither NaN nor infinity.
        spectra.append(
            {
                column: [None if value in (np.inf, -np.inf) or value != value else value for value in values[column]]
                for column in _SHOWN
            }
        )
    head = {key: str(meta.get(key, "")) for key in ("catalog", "patch")} | {"targets": targets}
    head["unmeasured"] = sorted(meta[TARGETS].keys() - {target["name"] for target in targets})
    content = {"colours": DETECTOR_COLOURS, "marks": MARKS, "spectra": spectra, "inputs": inputs}
    content["stamps"] = [stamps.get(target["name"], ()) for target in targets]
    return "".join(_page_parts("page.html", plotly=get_plotlyjs(), targets=_to_json(head), data=_to_json(content)))


def _to_json(content: object) -> str:
    """Return the text of a script element in one line."""
    # HTML finds the end tag of a script within a text, too.
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _page_parts(name: str, **values: str) -> list[str]:
    """Return the pieces of a page with values in place of $style, $table and further words."""
    files = importlib.resources.files("spherex.spectra")
    read = {key: files.joinpath(file).read_text(encoding="utf-8") for key, file in _COMMON.items()}
    values = {**read, **values}
    pieces = re.split(rf"\$({'|'.join(values)})\b", files.joinpath(name).read_text(encoding="utf-8"))
    return [values[piece] if number % 2 else piece for number, piece in enumerate(pieces)]


def write_index(directory: Path, pages: Iterable[str]) -> None:
    """Write a page with all targets of the pages of a directory, all or nothing.

    It reads the first lines of each page, so that it agrees with them however
    often an export was interrupted or repeated. Only the targets of one page
    are in memory.

    Parameters
    ----------
    directory
        The directory.
    pages
        Names of its pages, as `write_patch` made them.

    Raises
    ------
    spherex.errors.UserError
        If a page is damaged.
    """
    aside = directory / f"{INDEX}.incomplete"
    top, bottom = "".join(_page_parts("index.html", data=_PLACE)).split(_PLACE)
    with aside.open("w", encoding="utf-8") as stream:
        stream.write(f"{top}[")
        for number, name in enumerate(pages):
            summary = _read_summary(directory / name)
            targets = [[target[key] for key in _INDEXED] for target in summary["targets"]]
            page = {"page": name, "catalog": summary["catalog"], "targets": targets}
            stream.write(f"{',' if number else ''}\n{_to_json(page)}")
        stream.write(f"]{bottom}")
    aside.replace(directory / INDEX)


def _read_summary(page: Path) -> dict[str, Any]:
    """Return catalogue and targets of a page."""
    try:
        with page.open(encoding="utf-8") as stream:
            line = next((line for line in itertools.islice(stream, _MOST_LINES) if line.startswith(_SUMMARY)), "")
        summary: dict[str, Any] = json.loads(line.removeprefix(_SUMMARY).removesuffix("</script>\n"))
    except ValueError:
        raise UserError(f"{page} is damaged: remove it, and export again.") from None
    return summary


def multi_spectrum(patch: pa.Table) -> VOTableFile:
    """Return the spectra of a patch in the form MultiSpectrum of IRSA: one row for each target, with arrays.

    The form is that which Firefly, the display of IRSA, recognizes
    (``MultiSpectrumProcessor.java`` and ``SpectrumDM.js`` in
    https://github.com/Caltech-IPAC/firefly): the table has the utype
    ``ipac:MultiSpectrum``, and a group of the utype ``ipac:Spectrum.ArrayData``
    lists the columns that contain arrays.

    Parameters
    ----------
    patch
        As `gather_patch` or `combine_patch` return it. Columns of texts are
        left out.
    """
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import FieldRef, Group
    from astropy.table import Table as PlainTable

    names = patch["target"].unique().to_pylist()
    spectra = [spectrum_in(patch, name) for name in names]
    known = patch_meta(patch)[TARGETS]
    own = CHANNEL_COLUMNS if "channel" in patch.column_names else COLUMNS
    table = PlainTable({own[0].name: names})
    for column in POSITION_COLUMNS:
        table[column.name] = np.array([known[name].get(column.name, np.nan) for name in names], float)
    arrays = [column for column in own if column.dtype is not str]
    for column in arrays:
        # The spectra of targets have different lengths.
        cells = np.empty(len(names), object)
        for row, spectrum in enumerate(spectra):
            values = np.asarray(spectrum[column.name])
            cells[row] = values.astype(np.uint8) if values.dtype == bool else values
        table[column.name] = cells
    describe_columns(table, [own[0], *POSITION_COLUMNS, *arrays])
    votable = from_table(table)
    (made,) = votable.iter_tables()
    made.utype = "ipac:MultiSpectrum"
    for field in made.fields:
        # Firefly takes the ID for the name.
        field.ID = field.name
    # Otherwise they warn that their attributes are newer than VOTable 1.1.
    config = {"version_1_2_or_later": True}
    group = Group(made, ID="spectrum", name="spectrum", utype="ipac:Spectrum.ArrayData", config=config)
    group.entries.extend(
        FieldRef(made, column.name, ucd=column.ucd, utype=_UTYPES.get(column.name), config=config) for column in arrays
    )
    made.groups.append(group)
    return votable


def _to_votable(spectrum: QTable) -> VOTableFile:
    """Return a spectrum with its position as parameters, and its other metadata as texts."""
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info, Param

    votable = from_table(spectrum)
    (table,) = votable.iter_tables()
    meta = dict(spectrum.meta)
    for column in POSITION_COLUMNS:
        if column.name not in meta:
            continue
        value = str(meta.pop(column.name))
        param = Param(votable, name=column.name, datatype="double", value=value, unit=column.unit, ucd=column.ucd)
        table.params.append(param)
    for name, value in meta.items():
        table.infos.append(Info(name=name, value=_to_text(value)))
    for element in (*table.params, *table.infos):
        # Astropy takes the name, which a column can have as its ID.
        element.ID = None
    return votable


def _to_fits(spectrum: QTable) -> BinTableHDU:
    """Return a spectrum with UCDs and descriptions in the keywords of TOPCAT, and its metadata as keywords."""
    from astropy.io.fits import table_to_hdu
    from astropy.table import Table as PlainTable

    plain = PlainTable(spectrum)
    plain.meta.clear()
    for column in plain.columns.values():
        # Otherwise astropy writes them as YAML in comments, which it alone reads.
        column.description, column.meta = None, {}
    # Names of targets may have other letters than those of ASCII.
    plain.convert_unicode_to_bytestring()
    hdu = table_to_hdu(plain)
    for number, column in enumerate(spectrum.columns.values(), start=1):
        hdu.header[f"TCOMM{number}"], hdu.header[f"TUCD{number}"] = column.info.description, column.info.meta["ucd"]
    for name, value in spectrum.meta.items():
        if isinstance(value, int | float) and np.isfinite(value):
            hdu.header[name if len(name) <= _LONGEST_KEYWORD else f"HIERARCH {name}"] = value
        else:
            # HIERARCH keywords cannot have long texts.
            text = _to_text(value).encode("ascii", "backslashreplace").decode()
            hdu.header[name[:_LONGEST_KEYWORD]] = text
    return hdu


def _to_text(value: object) -> str:
    """Return a value of the metadata as a text, JSON unless it is one."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def write_patch(
    patch: pa.Table,
    path: Path,
    form: str,
    inputs: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    stamps: Mapping[str, Sequence[Stamp]] = MappingProxyType({}),
) -> int:
    """Write the spectra of a patch, all or nothing.

    Parameters
    ----------
    patch
        As `gather_patch` or `combine_patch` return it.
    path
        A file for formats in `SINGLE_FILES`, or a directory with a file for
        each target; replaced if it exists.
    form
        One of `SINGLE_FILES` or `EXTENSIONS`.
    inputs
        Descriptions for a page of the datasets in `INPUT_COLUMNS`, by UUID.
    stamps
        Pictures for a page of the surroundings of each target, by its name.

    Returns
    -------
    number
        Number of targets.

    Raises
    ------
    spherex.errors.UserError
        If the format is ``html``, and plotly is not installed or the spectra
        are means in channels.
    """
    names = patch["target"].unique().to_pylist()
    aside = path.with_name(f"{path.name}.incomplete")
    if form == "parquet":
        pq.write_table(with_positions(patch), aside, row_group_size=ROWS_OF_A_GROUP)
    elif form == "html":
        aside.write_text(_make_page(patch, inputs, stamps), encoding="utf-8")
    elif form == "multispectrum":
        multi_spectrum(patch).to_xml(str(aside))
    else:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for name in names:
            spectrum = spectrum_in(patch, name)
            file = aside / f"{urllib.parse.quote(name, safe=_SAFE)}{EXTENSIONS[form]}"
            if form == "votable":
                _to_votable(spectrum).to_xml(str(file))
            elif form == "fits":
                _to_fits(spectrum).writeto(file)
            else:
                spectrum.write(file, format="ascii.ecsv")
        shutil.rmtree(path, ignore_errors=True)
    aside.replace(path)
    return len(names)
