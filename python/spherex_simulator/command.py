"""The command spherex-simulate."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from spherex.archive import ProcessingRun
from spherex.detectors import DETECTOR_IDS, FRAME_SIDE
from spherex.errors import UserError
from spherex.numbers import PlainInteger, number_of_text

from .level2 import RELEASES, Level2Settings, read_sources, simulate_level2_survey
from .settings import DEFAULT_START, MINIMUM_SIDE, Settings
from .survey import MAXIMUM_EXPOSURES, ExposureReport, simulate_survey


class _Detectors(click.ParamType):
    """Detector numbers, separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = re.split(r"\s*,\s*", value.strip())
        if not all(part.isascii() and part.isdecimal() and int(part) in DETECTOR_IDS for part in parts):
            self.fail(f"{value!r} is not a list of detectors (1 to 6), such as 1,4.", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


class _Position(click.ParamType):
    """Right ascension and declination in degrees."""

    name = "ra,dec"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        try:
            ra, dec = (number_of_text(part) for part in value.split(","))
        except ValueError:
            ra, dec = math.nan, math.nan
        if not (math.isfinite(ra) and abs(dec) <= 90):
            self.fail(
                f"{value!r} is not right ascension and declination in degrees, such as 308.027,38.35.", param, ctx
            )
        return ra % 360.0, dec


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--exposures",
    required=True,
    type=PlainInteger(1, MAXIMUM_EXPOSURES),
    help="Number of exposures to simulate.",
)
@click.option(
    "--first-exposure",
    default=0,
    show_default=True,
    type=PlainInteger(0, MAXIMUM_EXPOSURES - 1),
    help="Number of the first exposure.",
)
@click.option(
    "--detectors",
    default=DETECTOR_IDS,
    type=_Detectors(),
    help="Detectors to simulate, such as 1,4; all by default.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=PlainInteger(0),
    help="Seed of the random numbers. Each exposure is the same, bit for bit, whatever else is simulated.",
)
@click.option(
    "--shape",
    default=FRAME_SIDE,
    show_default=True,
    type=PlainInteger(MINIMUM_SIDE, FRAME_SIDE),
    help="Rows, and columns, of an image. Smaller ones: a miniature with the same field of view (raw), "
    "or a cutout of the middle of the frame (level2).",
)
@click.option(
    "--start",
    metavar="TIME",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]),
    help=f"Begin of exposure 0, UTC, such as {DEFAULT_START:%Y-%m-%dT%H:%M:%S}, the default of raw; "
    "the default of level2 is within the observations of the release.",
)
@click.option("--sky-truth", is_flag=True, help="raw: also write the images without dark current and noise.")
@click.option(
    "--product",
    default="raw",
    show_default=True,
    type=click.Choice(["raw", "level2"]),
    help="Images as they come from the detectors, or as they are in the public archive.",
)
@click.option("--release", type=click.Choice(sorted(RELEASES)), help="level2: release whose form the files take.")
@click.option("--run", metavar="NAME", help="level2: processing run, such as l2b-v20-2025-299.")
@click.option(
    "--sources",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="level2: ECSV table of sources to add: name, ra, dec, flux (uJy at 1.6 um), temperature or slope.",
)
@click.option("--no-stars", is_flag=True, help="level2: omit the stars of the simulated sky.")
@click.option(
    "--center",
    type=_Position(),
    help="level2: cut around this position (deg); detectors that do not see it are skipped.",
)
@click.option(
    "--psf-erratum",
    is_flag=True,
    help="level2 of qr2: write the centres of the PSF zones with x and y exchanged, as in files up to VERSION 6.5.5.",
)
@click.option(
    "--calibrations", is_flag=True, help="level2: also write the calibrations of wavelengths, solid angles and PSFs."
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--skip-existing", is_flag=True, help="Keep files that exist: completes an interrupted run.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report progress.")
def simulate(
    out: Path,
    exposures: int,
    first_exposure: int,
    detectors: tuple[int, ...],
    seed: int,
    shape: int,
    start: datetime.datetime | None,
    sky_truth: bool,
    product: str,
    release: str | None,
    run: str | None,
    sources: Path | None,
    no_stars: bool,
    center: tuple[float, float] | None,
    psf_erratum: bool,
    calibrations: bool,
    overwrite: bool,
    skip_existing: bool,
    quiet: bool,
) -> None:
    """Simulate SPHEREx exposures into the directory OUT.

    For each exposure and detector it writes an image,
    sim_exposure_NNNNNN_array_D.fits, and its dark current map,
    sim_exposure_NNNNNN_array_D_dark_current.fits. It also writes the truth:
    the sources in each image (sim_truth_..._sources.ecsv) and the dark current
    of each detector without noise (sim_truth_dark_array_D.fits).

    With --product level2 it writes the tree of the public archive below
    OUT/RELEASE/level2, and the sources in each image below OUT/RELEASE/truth.
    """
    if overwrite and skip_existing:
        raise click.UsageError("--overwrite and --skip-existing exclude each other: use one of them.")
    if first_exposure + exposures > MAXIMUM_EXPOSURES:
        raise click.UsageError(f"The last exposure would be beyond number {MAXIMUM_EXPOSURES - 1}.")
    if (release is None) == (product == "level2"):
        raise click.UsageError("--product level2 needs a --release; --product raw does not take one.")
    if product == "level2" and sky_truth:
        raise click.UsageError("--sky-truth belongs to --product raw.")
    if product == "raw" and (run or sources or no_stars or center or psf_erratum or calibrations):
        raise click.UsageError(
            "--run, --sources, --no-stars, --center, --psf-erratum and --calibrations belong to --product level2."
        )
    numbers = range(first_exposure, first_exposure + exposures)
    existing = {"overwrite": overwrite, "skip_existing": skip_existing}
    try:
        reports: Iterator[ExposureReport]
        if release is None:
            settings = Settings(seed, shape, start or DEFAULT_START)
            reports = simulate_survey(settings, out, numbers, detectors, with_sky=sky_truth, **existing)
        else:
            form = RELEASES[release].with_swapped_zones() if psf_erratum else RELEASES[release]
            level2 = Level2Settings(
                Settings(seed, start=start or form.start),
                form,
                ProcessingRun.parse(run or form.run),
                shape,
                center,
                not no_stars,
                None if sources is None else read_sources(sources),
            )
            reports = simulate_level2_survey(
                level2, out, numbers, detectors, with_calibrations=calibrations, **existing
            )
        files = size = skipped = 0
        for count, report in enumerate(reports, start=1):
            files += report.files
            size += report.size
            skipped += report.skipped
            if not quiet:
                kept = f", {report.skipped} left as they were" if report.skipped else ""
                click.echo(
                    f"exposure {report.exposure:06d} ({count} of {exposures}): "
                    f"{report.files} files{kept}, {report.seconds:.1f} s"
                )
    except (UserError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else f"{out}: "
        raise click.ClickException(f"Cannot write {place}{error.strerror or error}") from None
    if not files + skipped:
        raise click.ClickException(
            "No files written: the --center is outside of all these images; use other exposures or detectors."
        )
    if not quiet:
        click.echo(f"Wrote {files} files, {size / 1e6:.1f} MB, to {out}")
