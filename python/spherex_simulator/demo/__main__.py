"""Commands that compare the repository of bin/spherex-demo with the truth, and draw it."""

from __future__ import annotations

from pathlib import Path

import click
from astropy.io import fits
from astropy.table import QTable, Table
from lsst.daf.butler import Butler, DatasetRef, MissingCollectionError, MissingDatasetTypeError

from spherex.errors import UserError
from spherex.spectra import spectrum_in

from ..survey import FileNames
from .images import check_image, draw_before_and_after
from .spectra import check_spectrum, draw_with_truth, read_truth, with_truth

_RAW, _OUTPUT, _SPECTRA = "rawexp", "postDark", "spectra"


@click.group(chain=True)
def main() -> None:
    """Compare the repository of bin/spherex-demo with the truth, and draw it.

    Commands can be given one after the other.
    """


@main.command()
@click.argument("repo")
@click.argument("collection")
@click.argument("files", type=click.Path(exists=True, file_okay=False, path_type=Path))
def check(repo: str, collection: str, files: Path) -> None:
    """Compare the images of COLLECTION in REPO with the truth in the simulated FILES."""
    names = FileNames(files)
    complaints = []
    click.echo("   exposure detector  pixels   mean pull  scatter  stars  measured/true")
    with Butler.from_config(repo, collections=collection) as butler:
        refs = _output_images(butler)
        expected = len(list(files.glob("sim_exposure_*_array_?.fits")))
        if len(refs) != expected:
            complaints.append(f"{collection} contains {len(refs)} {_OUTPUT} images, expected {expected}.")
        for ref in refs:
            exposure, detector = int(ref.dataId["exposure"]), int(ref.dataId["detector"])
            result = check_image(
                butler.get(ref),
                fits.getdata(names.sky(exposure, detector)),
                Table.read(names.sources(exposure, detector)),
            )
            click.echo(
                f"   {exposure:8d} {detector:8d} {result.pixels:7d} {result.mean:11.4f} {result.scatter:8.3f} "
                f"{result.stars:6d} {result.flux_ratio:14.3f}"
            )
            complaints += [f"exposure {exposure}, detector {detector}: {text}." for text in result.complaints()]
    if complaints:
        raise click.ClickException("The images disagree with the truth:\n" + "\n".join(complaints))
    click.echo("   All images agree with the truth within their noise.")


@main.command()
@click.argument("repo")
@click.argument("collection")
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--exposure", default=0, show_default=True, help="Number of the exposure to draw.")
def picture(repo: str, collection: str, output: Path, exposure: int) -> None:
    """Draw an exposure of COLLECTION in REPO before and after the dark subtraction into the PNG file OUTPUT."""
    with Butler.from_config(repo, collections=collection) as butler:
        refs = [ref for ref in _output_images(butler) if ref.dataId["exposure"] == exposure]
        if not refs:
            raise click.ClickException(
                f"{collection} in {repo} does not contain a {_OUTPUT} image of exposure {exposure}."
            )
        before = {int(ref.dataId["detector"]): butler.get(_RAW, ref.dataId) for ref in refs}
        after = {int(ref.dataId["detector"]): butler.get(ref) for ref in refs}
    header = next(iter(before.values())).header
    title = f"SPHEREx exposure {header['OBSID']} before and after dark subtraction"
    draw_before_and_after(before, after, output, title, _describe(header))


@main.command("check-spectra")
@click.argument("repo")
@click.argument("collection")
@click.argument("files", type=click.Path(exists=True, file_okay=False, path_type=Path))
def check_spectra(repo: str, collection: str, files: Path) -> None:
    """Compare the spectra of COLLECTION in REPO with the truth in the simulated FILES."""
    complaints = []
    spectra = _spectra(repo, collection)
    click.echo("   target       images  failed  marked  signal/noise  mean pull  scatter  largest  wavelength")
    try:
        truth = read_truth(files)
        for target, spectrum in spectra.items():
            result = check_spectrum(spectrum, truth, target)
            click.echo(
                f"   {target:12s} {result.images:6d} {result.failed:7d} {result.marked:7d} {result.signal:13.1f} "
                f"{result.mean:10.3f} {result.scatter:8.3f} {result.largest:8.2f} {result.wavelength_error:11.5f}"
            )
            complaints += [f"{target}: {text}." for text in result.complaints()]
    except UserError as error:
        raise click.ClickException(str(error)) from None
    if complaints:
        raise click.ClickException("The spectra disagree with the truth:\n" + "\n".join(complaints))
    click.echo("   All spectra agree with the truth within their noise.")


@main.command("picture-spectra")
@click.argument("repo")
@click.argument("collection")
@click.argument("files", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def picture_spectra(repo: str, collection: str, files: Path, output: Path) -> None:
    """Draw the spectra of COLLECTION in REPO, with the truth in the simulated FILES, into the PNG file OUTPUT."""
    spectra = _spectra(repo, collection)
    try:
        truth = read_truth(files)
        panels = [
            (f"{target}     {_describe_spectrum(spectrum)}", with_truth(spectrum, truth))
            for target, spectrum in spectra.items()
        ]
    except UserError as error:
        raise click.ClickException(str(error)) from None
    draw_with_truth(panels, output, "Spectra of simulated SPHEREx Level 2 images, and the truth")


def _output_images(butler: Butler) -> list[DatasetRef]:
    refs = _datasets(butler, _OUTPUT, "ExamplePipeline")
    return sorted(refs, key=lambda ref: (ref.dataId["exposure"], ref.dataId["detector"]))


def _spectra(repo: str, collection: str) -> dict[str, QTable]:
    """Return the spectra by the name of their target."""
    with Butler.from_config(repo, collections=collection) as butler:
        refs = _datasets(butler, _SPECTRA, "SpectrumPipeline")
        if not refs:
            raise click.ClickException(f"{collection} in {repo} does not contain {_SPECTRA}.")
        spectra = {}
        for patch in map(butler.get, refs):
            for target in patch["target"].unique().to_pylist():
                spectra[target] = spectrum_in(patch, target)
        return dict(sorted(spectra.items()))


def _datasets(butler: Butler, dataset_type: str, pipeline: str) -> list[DatasetRef]:
    try:
        refs: list[DatasetRef] = butler.query_datasets(dataset_type, explain=False)
    except (MissingCollectionError, MissingDatasetTypeError) as error:
        raise click.ClickException(f"{error} Run pipelines/{pipeline}.yaml first.") from None
    return refs


def _describe(header: fits.Header) -> str:
    return (
        f"Simulated. Boresight at RA {header['RA_BORE']:.2f}°, Dec {header['DEC_BORE']:+.2f}°; "
        f"{header['DATE-BEG'][:16].replace('T', ' ')} UTC, {header['XPOSURE']:.0f} s. The same stretch everywhere."
    )


def _describe_spectrum(spectrum: QTable) -> str:
    meta = spectrum.meta
    return f"RA {meta['ra']:.3f}°, Dec {meta['dec']:+.3f}°     {meta['images']} images"


if __name__ == "__main__":
    main(prog_name="python -m spherex_simulator.demo")
