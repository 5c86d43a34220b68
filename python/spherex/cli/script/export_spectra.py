"""``butler export-spectra``: from options to files."""

from __future__ import annotations

import io
import json
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from lsst.daf.butler import FileIntegrityError

from spherex.errors import UserError, counted, first_line, without_secrets
from spherex.repository import open_repository

from . import user_errors, writing
from .stale_spectra import find_spectra

if TYPE_CHECKING:
    import pyarrow as pa
    from lsst.daf.butler import Butler

_STAMP_SIDE = 21
"""Rows and columns of a stamp (pixels): 2 arcmin."""

_LAYOUT = 2
"""Version of the content of files: since 2 with proper motions, and stamps that follow them."""
_LAYOUT_OF_PAGES = 3
"""The same of pages: since 3 with the line of their targets, which the index reads."""

_MANIFEST = "export.json"
"""File of an output directory: what was exported, so that a repeated command goes on."""


@user_errors()
def export_spectra(
    repo: str, collection: str, out: Path, dataset_type: str, form: str, stamps: bool, where: str
) -> None:
    """Write the spectra of a collection into files.

    Parameters
    ----------
    repo
        Path, URI or label of the repository.
    collection
        Collection of the spectra.
    out
        Output directory.
    dataset_type
        Dataset type of the spectra.
    form
        ``parquet``, ``html``, ``ecsv``, ``votable``, ``fits`` or ``multispectrum``.
    stamps
        Whether pages have pictures of the surroundings of each target.
    where
        Data query for the patches.
    """
    from spherex.spectra import INDEX, SINGLE_FILES, write_index, write_patch

    if stamps and form != "html":
        raise click.UsageError("--stamps is for --format html.")

    with open_repository(repo, writeable=False) as butler:
        refs = find_spectra(butler, repo, collection, dataset_type, where)
        layout = _LAYOUT_OF_PAGES if form == "html" else _LAYOUT
        kind = {"dataset_type": dataset_type, "format": form, "stamps": stamps, "layout": layout}
        with writing(out):
            done = _read_manifest(out, kind)
        targets = skipped = 0
        # Elsewhere than in a terminal, click writes the label alone.
        file = None if sys.stdout.isatty() else io.StringIO()
        with click.progressbar(sorted(refs), label="Patches", file=file) as progress:
            for ref in progress:
                name = f"{ref.dataId['catalog']}_{ref.dataId['patch']}"
                path = out / f"{name}{SINGLE_FILES.get(form, '')}"
                if done.get(name) == str(ref.id) and path.exists():
                    skipped += 1
                    continue
                patch = butler.get(ref)
                extras: dict[str, Any] = {}
                if form == "html" and "image_id" in patch.column_names:
                    extras["inputs"] = _describe_inputs(butler, patch)
                    if stamps:
                        extras["stamps"] = _make_stamps(butler, patch)
                with writing(out):
                    targets += write_patch(patch, path, form, **extras)
                    done[name] = str(ref.id)
                    _write_manifest(out, kind | {"patches": done})
    if form == "html":
        # Pages of patches that this command does not select are there, too.
        with writing(out):
            write_index(out, [f"{name}.html" for name in sorted(done) if (out / f"{name}.html").exists()])
    kept = f"; {skipped} of {len(refs)} patches were there already" if skipped else ""
    hint = f" Open {out / INDEX} in a browser." if form == "html" else ""
    click.echo(f"Wrote the spectra of {counted(targets, 'target')} to {out}{kept}.{hint}")


def _describe_inputs(butler: Butler, patch: pa.Table) -> dict[str, dict[str, str]]:
    """Return dataset type, data ID, run and URI of the datasets that made the spectra, by UUID."""
    from spherex.spectra import INPUT_COLUMNS

    ids = {text for name in INPUT_COLUMNS for text in patch[name].unique().to_pylist() if text}
    refs = butler.get_many_datasets([uuid.UUID(text) for text in ids])
    uris = butler.get_many_uris(refs, predict=False, allow_missing=True)
    found = {}
    for ref in refs:
        uri = uris[ref].primaryURI if ref in uris else None
        found[str(ref.id)] = {
            "type": ref.datasetType.name,
            "data_id": ", ".join(f"{key} {value}" for key, value in ref.dataId.required.items()),
            "run": ref.run,
            "uri": "" if uri is None else without_secrets(str(uri)),
        }
    return found


def _make_stamps(butler: Butler, patch: pa.Table) -> dict[str, list[dict[str, object]]]:
    """Return for each target a picture of each detector, from the first of its good measurements."""
    from astropy.table import Table
    from astropy.time import Time

    from spherex.spectra import POSITION_COLUMNS, TARGETS, make_stamp, patch_meta, positions_at, spectrum_in

    stamps: dict[str, list[dict[str, object]]] = {}
    facts = patch_meta(patch)[TARGETS]
    # Others of the patch are in no image.
    for name in patch["target"].unique().to_pylist():
        known = facts[name]
        place = Table({column.name: [known[column.name]] for column in POSITION_COLUMNS if column.name in known})
        spectrum = spectrum_in(patch, name)
        rows = spectrum[spectrum["good"]]
        _, firsts = np.unique(rows["detector"], return_index=True)
        for row in rows[firsts]:
            # A target that moves is elsewhere in each image.
            time = Time(row["time"].to_value("d"), format="mjd", scale="utc")
            position = positions_at(place, time)[0]
            parameters = {"position": position, "size": _STAMP_SIDE, "mode": "pad"}
            ref = butler.get_dataset(uuid.UUID(row["image_id"]))
            if ref is None:
                raise UserError(
                    f"the image {row['image_id']} of {name} is no longer in the repository: make the spectra again "
                    "(butler stale-spectra), or leave out --stamps."
                )
            try:
                image = butler.get(ref, parameters=parameters)
            except (FileNotFoundError, FileIntegrityError, ValueError) as error:
                raise UserError(
                    f"the image {row['image_id']} of {name} cannot be read ({first_line(error)}): restore its file, "
                    "or leave out --stamps."
                ) from error
            title = f"D{row['detector']}, {row['wavelength'].to_value('um'):.3f} um"
            stamps.setdefault(name, []).append({"title": title} | make_stamp(image, position, int(row["detector"])))
    return stamps


def _read_manifest(out: Path, kind: dict[str, Any]) -> dict[str, str]:
    """Make the directory, and return the UUIDs of the patches that are there already."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / _MANIFEST
    if not manifest.exists():
        if any(not path.name.endswith(".incomplete") for path in out.iterdir()):
            raise UserError(f"{out} is not empty, and was not written by export-spectra: choose another directory.")
        return {}
    try:
        # Exports of before 2026-11-28 have no word on stamps, those of before 2026-11-29 none on the layout.
        found: dict[str, Any] = {"stamps": False, "layout": 1} | json.loads(manifest.read_text())
        done: dict[str, str] = found["patches"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{manifest} is damaged: remove {out}, and export again.") from None
    if differing := [name for name, value in kind.items() if found.get(name) != value]:
        name = differing[0]
        raise UserError(
            f"{out} has an export with other options ({name}: {found.get(name)}, now {kind[name]}): choose another "
            "directory."
        )
    return done


def _write_manifest(out: Path, content: dict[str, Any]) -> None:
    aside = out / f"{_MANIFEST}.incomplete"
    aside.write_text(json.dumps(content, indent=1))
    aside.replace(out / _MANIFEST)
