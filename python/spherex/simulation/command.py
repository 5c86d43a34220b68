"""The command spherex-simulate."""

from __future__ import annotations

__all__ = ["simulate"]

import datetime
import re
from pathlib import Path
from typing import Any

import click

from ._files import MAXIMUM_EXPOSURES
from ._settings import DEFAULT_START, FULL_SIDE, MINIMUM_SIDE, Settings
from ._survey import ALL_DETECTORS, SurveyError, simulate_survey


class _Detectors(click.ParamType):
    """Detector numbers, separated by commas."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = re.split(r"\s*,\s*", value.strip())
        if not all(part.isdecimal() and int(part) in ALL_DETECTORS for part in parts):
            self.fail(f"{value!r} is not a list of detectors (1 to 6), such as 1,4.", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--exposures",
    required=True,
    type=click.IntRange(1, MAXIMUM_EXPOSURES),
    help="Number of exposures to simulate.",
)
@click.option(
    "--first-exposure",
    default=0,
    show_default=True,
    type=click.IntRange(0, MAXIMUM_EXPOSURES - 1),
    help="Number of the first exposure.",
)
@click.option(
    "--detectors",
    default=ALL_DETECTORS,
    type=_Detectors(),
    help="Detectors to simulate, such as 1,4; all by default.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Seed of the random numbers. Each exposure is the same, bit for bit, whatever else is simulated.",
)
@click.option(
    "--shape",
    default=FULL_SIDE,
    show_default=True,
    type=click.IntRange(MINIMUM_SIDE, FULL_SIDE),
    help="Rows, and columns, of an image. Fewer make a miniature with the same field of view.",
)
@click.option(
    "--start",
    default=DEFAULT_START,
    metavar="TIME",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]),
    help=f"Begin of exposure 0, UTC, such as {DEFAULT_START:%Y-%m-%dT%H:%M:%S}, which is the default.",
)
@click.option("--sky-truth", is_flag=True, help="Also write the images without dark current and noise.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--skip-existing", is_flag=True, help="Leave files that exist: completes an interrupted run.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report progress.")
def simulate(
    out: Path,
    exposures: int,
    first_exposure: int,
    detectors: tuple[int, ...],
    seed: int,
    shape: int,
    start: datetime.datetime,
    sky_truth: bool,
    overwrite: bool,
    skip_existing: bool,
    quiet: bool,
) -> None:
    """Simulate SPHEREx exposures into the directory OUT.

    For each exposure and detector it writes sim_exposure_NNNNNN_array_D.fits,
    the image, and sim_exposure_NNNNNN_array_D_dark_current.fits, its dark
    current map. Beside them lies the truth: the sources in each image
    (sim_truth_..._sources.ecsv) and the dark current of each detector without
    noise (sim_truth_dark_array_D.fits).
    """
    if overwrite and skip_existing:
        raise click.UsageError("--overwrite and --skip-existing exclude each other.")
    if first_exposure + exposures > MAXIMUM_EXPOSURES:
        raise click.UsageError(f"The last exposure would be beyond number {MAXIMUM_EXPOSURES - 1}.")
    try:
        settings = Settings(seed, shape, start)
        reports = simulate_survey(
            settings,
            out,
            range(first_exposure, first_exposure + exposures),
            detectors,
            with_sky=sky_truth,
            overwrite=overwrite,
            skip_existing=skip_existing,
        )
        files = size = 0
        for count, report in enumerate(reports, start=1):
            files += report.files
            size += report.size
            if not quiet:
                kept = f", {report.skipped} left as they were" if report.skipped else ""
                click.echo(
                    f"exposure {report.exposure:06d} ({count} of {exposures}): "
                    f"{report.files} files{kept}, {report.seconds:.1f} s"
                )
    except (SurveyError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else f"{out}: "
        raise click.ClickException(f"Cannot write {place}{error.strerror or error}") from None
    if not quiet:
        click.echo(f"Wrote {files} files, {size / 1e6:.1f} MB, to {out}")
