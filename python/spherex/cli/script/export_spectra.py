"""``butler export-spectra``: from options to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from spherex.errors import UserError, counted
from spherex.repository import open_repository

from . import user_errors
from .stale_spectra import find_spectra

_MANIFEST = "export.json"
"""File of an output directory: what was exported, so that a repeated command goes on."""


@user_errors()
def export_spectra(repo: str, collection: str, out: Path, dataset_type: str, form: str, where: str) -> None:
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
        ``parquet``, ``html``, ``ecsv``, ``votable`` or ``multispectrum``.
    where
        Data query for the patches.
    """
    from spherex.spectra import SINGLE_FILES, write_patch

    with open_repository(repo, writeable=False) as butler:
        refs = find_spectra(butler, repo, collection, dataset_type, where)
        kind = {"dataset_type": dataset_type, "format": form}
        done = _read_manifest(out, kind)
        targets = skipped = 0
        with click.progressbar(sorted(refs), label="Patches") as progress:
            for ref in progress:
                name = f"{ref.dataId['catalog']}_{ref.dataId['patch']}"
                path = out / f"{name}{SINGLE_FILES.get(form, '')}"
                if done.get(name) == str(ref.id) and path.exists():
                    skipped += 1
                    continue
                targets += write_patch(butler.get(ref), path, form)
                done[name] = str(ref.id)
                _write_manifest(out, kind | {"patches": done})
    kept = f"; {skipped} of {len(refs)} patches were there already" if skipped else ""
    click.echo(f"Wrote the spectra of {counted(targets, 'target')} to {out}{kept}.")


def _read_manifest(out: Path, kind: dict[str, str]) -> dict[str, str]:
    """Make the directory, and return the UUIDs of the patches that are there already."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / _MANIFEST
    if not manifest.exists():
        if any(not path.name.endswith(".incomplete") for path in out.iterdir()):
            raise UserError(f"{out} is not empty, and was not written by export-spectra: choose another directory.")
        return {}
    try:
        found: dict[str, Any] = json.loads(manifest.read_text())
        done: dict[str, str] = found["patches"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{manifest} is damaged: remove {out}, and export again.") from None
    if differing := [name for name, value in kind.items() if found.get(name) != value]:
        name = differing[0]
        raise UserError(
            f"{out} has an export with {name} {found.get(name)!r}, not {kind[name]!r}: choose another directory."
        )
    return done


def _write_manifest(out: Path, content: dict[str, Any]) -> None:
    aside = out / f"{_MANIFEST}.incomplete"
    aside.write_text(json.dumps(content, indent=1))
    aside.replace(out / _MANIFEST)
