"""Declarations of the commands; what they do is in `spherex.cli.script`."""

from __future__ import annotations

__all__ = [
    "check_provenance",
    "create_spherex",
    "decertify_calibrations",
    "export_spectra",
    "find_archive",
    "find_images",
    "ingest_calibrations",
    "ingest_level2",
    "ingest_simulated",
    "list_calibrations",
    "make_spectrum",
    "register_targets",
    "stale_spectra",
]

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from lsst.daf.butler.cli.opt import (
    dataset_type_option,
    locations_argument,
    options_file_option,
    processes_option,
    regex_option,
    repo_argument,
    run_option,
    track_file_attrs_option,
    transfer_option,
    where_option,
)
from lsst.daf.butler.cli.utils import ButlerCommand, split_commas

from spherex.detectors import (
    CALIBRATION_COLLECTION,
    CATALOG_COLLECTION,
    CHANNEL_SPECTRA_TYPE,
    LEVEL2_COLLECTION,
    LEVEL2_TYPE,
    RAW_TYPE,
    SPECTRA_TYPE,
)
from spherex.numbers import PlainInteger, PlainNumber
from spherex.remote import obey_no_sign_request

# At import, because the Butler's own commands import this module and run nothing else of this package: with a public
# butler.yaml query-collections, for instance, and retrieve-artifacts, which reads files without a formatter.
obey_no_sign_request()

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    # Generic since click 8.2.
    _Choice = click.Choice


_WITH_POSITION = {"ignore_unknown_options": True}
"""Settings of commands with a position: a negative declination is not an option."""


def _refuse_options(context: click.Context, parameter: click.Parameter, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse unknown options, which click takes for a part of the position: a callback of its argument."""
    known = [name for other in context.command.params for name in other.opts if name.startswith("-")]
    for word in arguments:
        if word.startswith("-") and not word[1:2].isdigit() and word[1:2] != ".":
            option = word.split("=")[0]
            # Since click 8.2 the class selects the similar ones itself.
            raise click.NoSuchOption(option, possibilities=difflib.get_close_matches(option, known))
    return arguments


class _TransferChoice(_Choice):
    """Transfer modes of an ingest without ``move``, which the ingest refuses with the way to replace it."""

    def __init__(self) -> None:
        modes = ["auto", "link", "symlink", "hardlink", "copy", "relsymlink", "direct"]
        super().__init__(modes, case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return "move" if str(value).lower() == "move" else super().convert(value, param, ctx)


ARCHIVE_TRANSFER: dict[str, dict[str, Any]] = {
    "transfer": {
        "default": None,
        "help": "How files get into the datastore. Default is 'direct' for remote files, which stay where they "
        "are, and 'auto' for local ones. ",
    },
    "track_file_attrs": {
        "default": False,
        "help": "Record the sizes of files, or not. The archive has replaced files under the same name, "
        "so the default is not to.",
    },
}
"""What differs from the stock options for files of the archive."""


def ingest_arguments(regex_help: str) -> _Decorator:
    """Declare the repository, the locations of files and the filter of their names.

    Parameters
    ----------
    regex_help
        Default of --regex.
    """
    return _stacked(
        repo_argument(required=True, help="REPO is the URI or path of an existing repository."),
        locations_argument(
            required=True,
            # The stock argument splits at commas, which URIs of cutouts contain.
            callback=None,
            help="LOCATIONS are files, or directories to search for files, on disk or at any URI that "
            "lsst.resources reads, or lists of URIs (.txt, .sh, .csv, .ecsv, .tbl, .fits, .parquet, .xml, .vot). "
            "Blanks separate them, not commas.",
        ),
        regex_option(help=f"Regular expression for the names of files. {regex_help}"),
    )


def ingest_options(
    transfer: dict[str, Any] | None = None, track_file_attrs: dict[str, Any] | None = None
) -> _Decorator:
    """Declare the options of every kind of file.

    Parameters
    ----------
    transfer, track_file_attrs
        Differences to the stock options of these names.
    """
    transfer = {"default": "auto", "help": "How files get into the datastore. ", **(transfer or {})}
    transfer["help"] += (
        "Instead of 'move': use 'copy' and --list-stored FILE, then remove the originals by "
        r"xargs -d '\n' rm < FILE."
    )
    return _stacked(
        transfer_option(type=_TransferChoice(), **transfer),
        click.option(
            "--list-stored",
            metavar="FILE",
            type=click.Path(dir_okay=False, writable=True),
            help="Write to FILE the paths or URIs of the originals that can be removed, one in a line: the datastore "
            "contains a copy with the same bytes, and no dataset points to the original.",
        ),
        processes_option(
            type=PlainInteger(min=1),
            help="Number of threads that read headers. More than one helps where files are slow to reach.",
        ),
        click.option("--fail-fast", is_flag=True, help="Stop at the first file that fails."),
        click.option(
            "--skip-existing",
            is_flag=True,
            help="Skip files whose dataset is in the repository, without reading them. Without this option they "
            "are compared with the ingested files.",
        ),
        click.option(
            "--update-records",
            is_flag=True,
            help="Let headers overwrite dimension records that differ. Unknown values are filled in without it.",
        ),
        click.option("--dry-run", is_flag=True, help="Write nothing, and report what would be written."),
        track_file_attrs_option(**(track_file_attrs or {})),
        options_file_option(),
    )


def _stacked(*decorators: _Decorator) -> _Decorator:
    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def calibration_collection_option() -> _Decorator:
    """Return an option for the CALIBRATION collection."""
    return click.option(
        "--collection",
        default=CALIBRATION_COLLECTION,
        show_default=True,
        help="Name of the CALIBRATION collection.",
    )


def collections_option(help: str, name: str = "--collections", **attributes: Any) -> _Decorator:
    """Return an option for collections.

    Parameters
    ----------
    help
        What they are for.
    name
        Name of the option.
    **attributes
        Further arguments of `click.option`.
    """
    # The stock option shows several words, but takes one, with commas.
    help = f"{help} Several are separated by commas."
    return click.option(name, multiple=True, callback=split_commas, metavar="COLLECTION", help=help, **attributes)


def calibrations_option() -> _Decorator:
    """Return an option for the collections in which calibrations are looked up."""
    return collections_option(
        "Collections of the calibrations. The first one with a valid calibration counts.",
        "--calibrations",
        show_default=CALIBRATION_COLLECTION,
    )


def access_option() -> _Decorator:
    """Return an option for the way to images that were found in the archive."""
    return click.option(
        "--access",
        type=click.Choice(["s3", "https"]),
        default="s3",
        show_default=True,
        help="Where to read images that the archive has: in its bucket, or on its server.",
    )


def detector_option() -> _Decorator:
    """Return an option for detectors."""
    return click.option(
        "--detector",
        "detectors",
        type=PlainInteger(min=0),
        multiple=True,
        help="Number of a detector; can be given several times. Default is all, and types without a detector.",
    )


def validity_options(begin: str, end: str) -> _Decorator:
    """Return options for a range of time.

    Parameters
    ----------
    begin, end
        What the two limits are for.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--end-date", help=f"{end} ISO 8601, TAI, exclusive. Default is no limit.")(command)
        return click.option("--begin-date", help=f"{begin} ISO 8601, TAI. Default is no limit.")(command)

    return decorate


@click.command(
    "check-provenance",
    cls=ButlerCommand,
    short_help="SPHEREx: compare the calibrations of images with the ingested ones.",
)
@repo_argument(required=True)
@click.option("--dataset-type", default=LEVEL2_TYPE, show_default=True, help="Name of the dataset type of the images.")
@collections_option(f"Collections of the images. All versions of an image are read. Default is {LEVEL2_COLLECTION}.")
@click.option("--instrument", default="SPHEREx", show_default=True, help="Name of the instrument of the images.")
@where_option()
@click.option(
    "-j",
    "--processes",
    "threads",
    type=PlainInteger(min=1),
    default=1,
    show_default=True,
    help="Number of threads that read headers. More than one helps where files are slow to reach.",
)
@options_file_option()
def check_provenance(**kwargs: Any) -> None:
    """Compare the calibrations that images were made with to the ingested ones.

    The header of an image lists the dataset ids of its calibrations. The
    report counts the ingested ones by dataset type. It lists images with a
    calibration that is younger than they claim to be: such an image was
    replaced under the same name. Only headers are read.

    The exit status is 1 if an image could not be read, was replaced, or
    contradicts the repository. Calibrations that were not ingested do not
    count as a failure.
    """
    from .script.check_provenance import check_provenance as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


@click.command(
    "decertify-calibrations", cls=ButlerCommand, short_help="SPHEREx: decertify calibrations in a range of time."
)
@repo_argument(required=True)
@click.argument("dataset-type")
@calibration_collection_option()
@validity_options("Begin of the range.", "End of the range.")
@detector_option()
@click.option("--dry-run", is_flag=True, help="Report the calibrations that would be decertified.")
@options_file_option()
def decertify_calibrations(**kwargs: Any) -> None:
    """Decertify the calibrations of DATASET_TYPE in a range of time.

    Calibrations that are valid beyond the range stay valid there. The files
    and datasets stay in the repository. If none is valid in the range, there
    is nothing to do, and the ranges that exist are listed. The exit status is
    1 if the collection does not have such calibrations.
    """
    from .script.calibrations import decertify_calibrations as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


@click.command(
    "find-archive",
    cls=ButlerCommand,
    short_help="SPHEREx: find images of the archive at a position, and ingest them.",
    context_settings=_WITH_POSITION,
)
@repo_argument(required=True, help="REPO is the URI or path of an existing repository.")
@click.argument("position", nargs=-1, metavar="RA DEC | NAME", callback=_refuse_options)
@click.option("--catalog", metavar="NAME", help="Find the images of all targets of this catalogue of the repository.")
@click.option(
    "--radius",
    help="Find images that touch a circle of this radius, in degrees or with a unit (10arcmin). Default is the "
    "position alone.",
)
@collections_option("Collections of the archive. Default is all of Level 2 images.", "--archive-collection")
@access_option()
@click.option(
    "--service",
    metavar="URI",
    help="URI of another service: SIA, version 2, or with --catalog TAP. Default is that of the archive.",
)
@click.option(
    "--timeout",
    type=PlainNumber(0.1),
    default=300.0,
    show_default=True,
    help="Longest time without an answer of the service (s).",
)
@click.option("--dry-run", is_flag=True, help="Ingest nothing, and report what is new.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="Write a table of the images to this file, .txt, .ecsv, .parquet, .vot or .xml (VOTable).",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --output.")
@processes_option(default=8, type=PlainInteger(min=1), help="Number of headers that are read at the same time.")
@options_file_option()
def find_archive(**kwargs: Any) -> None:
    """Find Level 2 images of the SPHEREx archive at a position, and ingest them.

    The position is as for find-images. Sesame of the CDS is asked for the
    position of any other NAME, such as M31. Of each image the newest version
    is ingested. Files stay in the archive: the headers of new images are read,
    and nothing else.

    The command can be repeated at any time, and then ingests what is new. The
    exit status is 1 if there is no image, if the service left images out, or
    if an image could not be ingested.
    """
    from .script.find_archive import find_archive as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


@click.command(
    "find-images",
    cls=ButlerCommand,
    short_help="SPHEREx: list the images that cover a position, with the wavelength there.",
    context_settings=_WITH_POSITION,
)
@repo_argument(required=True, help="REPO is the URI or path of an existing repository.")
@click.argument("position", nargs=-1, required=True, metavar="RA DEC | NAME", callback=_refuse_options)
@click.option("--radius", help="List images that touch a circle of this radius, in degrees or with a unit (10arcmin).")
@click.option("--dataset-type", default=LEVEL2_TYPE, show_default=True, help="Dataset type of the images.")
@collections_option(
    "Collections to search. Of an image in several collections, the first one is listed. "
    f"Default: {LEVEL2_COLLECTION}, newest processing first.",
    default=(LEVEL2_COLLECTION,),
)
@calibrations_option()
@click.option("--instrument", default="SPHEREx", show_default=True, help="Name of the instrument.")
@click.option(
    "--detector", type=PlainInteger(min=0), multiple=True, help="Number of a detector; can be given several times."
)
@click.option("--survey", multiple=True, help="Survey, such as all_sky or deep_north; can be given several times.")
@click.option(
    "--time-range",
    nargs=2,
    metavar="BEGIN END",
    help="Exposures that overlap this time: two dates, UTC, such as 2025-06-01 2025-07-01T12:00:00.",
)
@click.option(
    "--wavelength-range",
    nargs=2,
    type=PlainNumber(min=0),
    metavar="MIN MAX",
    help="Wavelengths at the position (um); of images that only touch the circle of --radius, at the nearest pixel.",
)
@where_option(help="Further condition, a data query of the Butler.")
@click.option(
    "--exact",
    is_flag=True,
    help="Read the headers of all images for exact pixels, and leave out cutouts without the position whose extent was "
    "not recorded. Without this option only headers of images with an edge near the position are read.",
)
@click.option("--flags", is_flag=True, help="Read the flags of the pixel, too; implies --exact.")
@click.option(
    "--sort", type=click.Choice(["time", "wavelength"]), default="time", show_default=True, help="Order of the rows."
)
@click.option(
    "--show-uri", is_flag=True, help="Show the URIs of the files, too; files of --output contain them anyway."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="Write the table to this file, .txt, .ecsv, .parquet, .vot or .xml (VOTable), instead of printing it.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --output.")
@processes_option(default=8, type=PlainInteger(min=1), help="Number of remote files that are read at the same time.")
@options_file_option()
def find_images(**kwargs: Any) -> None:
    """List the images that cover a position, with the wavelength there.

    RA and DEC are in degrees, ICRS, RA from -180 to 360, or have a unit
    (20h32m06.5s 38d21m00s), or are sexagesimal, RA in hours (20:32:06.5
    +38:21:00). A NAME must contain the coordinates, such as
    J203206+382100. The table contains time, wavelength and pixel of the
    position in each image, from the records of the repository; pixels such as
    ~1160 are rounded to what is known. The exit status is 1 if there is no
    image.
    """
    from .script.find_images import find_images as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


@click.command(
    "ingest-calibrations", cls=ButlerCommand, short_help="SPHEREx: ingest and certify calibrations of the archive."
)
@ingest_arguments("By default it matches names of the archive, except names of images.")
@calibration_collection_option()
@validity_options("Begin of the validity.", "End of the validity.")
@click.option(
    "--id",
    "ids",
    metavar="FILE=UUID",
    multiple=True,
    help="Dataset id that the SPHEREx pipeline gave to a calibration, as in the HISTORY of images; FILE is its name "
    "without directory. May be given several times.",
)
@click.option(
    "--ids",
    "ids_file",
    metavar="URI",
    help="YAML or JSON file with such ids: a mapping from names of files to UUIDs.",
)
@click.option(
    "--dataset-type-prefix",
    default="",
    help="Prefix of the archive's names of dataset types, for names that are taken. Default is nothing.",
)
@ingest_options(**ARCHIVE_TRANSFER)
def ingest_calibrations(**kwargs: Any) -> None:
    """Ingest calibrations of the SPHEREx archive, and certify them.

    Each processing run becomes a RUN collection SPHEREx/calib/<run>. In the
    CALIBRATION collection SPHEREx/calib the newest run is valid: it replaces
    older ones where they overlap, and is never replaced by them.

    The command can be repeated at any time, for instance after an
    interruption. Existing datasets do not change, and their validity changes
    only with --begin-date or --end-date.
    """
    from .script.ingest_calibrations import ingest_calibrations as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


@click.command("ingest-level2", cls=ButlerCommand, short_help="SPHEREx: ingest Level 2 images of the archive.")
@ingest_arguments("By default it matches all FITS files, except calibrations of the archive.")
@click.option(
    "--dataset-type",
    default=LEVEL2_TYPE,
    show_default=True,
    help="Name of the dataset type that the files become.",
)
@click.option(
    "--label",
    help="Name of a field. Its images are in SPHEREx/level2/<label>, and in SPHEREx/level2 with all others. Cutouts "
    "of one exposure and detector need different labels.",
)
@click.option(
    "--processing-run",
    help="Processing run of files without one in their name or directory (<run>/<detector>/), such as "
    "l2b-v20-2025-299.",
)
@ingest_options(**ARCHIVE_TRANSFER)
def ingest_level2(**kwargs: Any) -> None:
    """Ingest Level 2 images of the SPHEREx archive, whole frames or cutouts.

    Each processing run becomes a RUN collection SPHEREx/level2/<run>, or with
    --label SPHEREx/level2/<label>/<run>. The collection SPHEREx/level2 finds
    the newest version of every image. Of remote files the headers are read and
    nothing else.

    The command can be repeated at any time, for instance after an
    interruption. Existing datasets do not change.
    """
    from .script.ingest import ingest_level2 as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


@click.command("ingest-simulated", cls=ButlerCommand, short_help="SPHEREx: ingest files of the simulator.")
@ingest_arguments(
    "By default it matches the raw images, sim_exposure_<exposure>_array_<detector>.fits. "
    "For dark current maps use 'dark_current.fits'."
)
@click.option(
    "--ingest-type",
    default=RAW_TYPE,
    show_default=True,
    help="Name of the dataset type that the files become.",
)
@run_option(help="Name of the RUN collection that the files go to. Default is the ingest type and 'r'.")
@click.option(
    "--group",
    help="Name of the group of the exposures. Default is the date of the observation, YYYYMMDD, or of the first "
    "ingest of the exposure if the header has no date.",
)
@ingest_options()
def ingest_simulated(**kwargs: Any) -> None:
    """Ingest raw images or dark current maps of the SPHEREx simulator.

    The command can be repeated at any time, for instance after an
    interruption. Existing datasets do not change.
    """
    from .script.ingest import ingest_simulated as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


@click.command("list-calibrations", cls=ButlerCommand, short_help="SPHEREx: list calibrations with their validity.")
@repo_argument(required=True)
@calibration_collection_option()
@dataset_type_option(
    help="Names of dataset types, or glob-style patterns such as 'spectral_*', separated by commas. Default is all."
)
@detector_option()
@options_file_option()
def list_calibrations(**kwargs: Any) -> None:
    """List certified calibrations: type, detector, run, validity (TAI) and file.

    The exit status is 1 if there are none.
    """
    from .script.calibrations import list_calibrations as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


_COLUMNS = {
    "name": "names",
    "ra": "right ascensions",
    "dec": "declinations",
    "pmra": "proper motions in right ascension on the sky, cos(dec) included",
    "pmdec": "proper motions in declination",
    "ref_epoch": "Julian years of the positions",
}


def _column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(_COLUMNS.items()):
        option = f"--{name.replace('_', '-')}-column"
        command = click.option(option, metavar="NAME", help=f"Column with the {text}. Default is a usual name.")(
            command
        )
    return command


@click.command(
    "make-spectrum",
    cls=ButlerCommand,
    short_help="SPHEREx: make the spectra of a source or a catalogue, and their pictures.",
    context_settings=_WITH_POSITION,
)
@repo_argument(required=True, help="REPO is the URI or path of an existing repository.")
@click.argument("target", nargs=-1, required=True, metavar="NAME | NAME RA DEC | FILE", callback=_refuse_options)
@click.option("--catalog", metavar="NAME", help="Name of the new catalogue. Default is that of the source or file.")
@click.option(
    "--files",
    metavar="LOCATION",
    multiple=True,
    help="Level 2 images to ingest first: a file, directory or URI. Can be given several times.",
)
@click.option("--find", is_flag=True, help="Ask the archive for images first, and ingest their URIs.")
@click.option("--failed", is_flag=True, help="Repeat failed measurements, too, such as of files that were repaired.")
@access_option()
@click.option("--service", metavar="URI", help="URI of another service for --find, as for find-archive.")
@click.option(
    "--output",
    metavar="COLLECTION",
    help="Collection of the spectra. Default is spectra/ and the name of the catalogue.",
)
@click.option(
    "--log",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="File for the log. Default is spectra-<catalogue>.log in the current directory.",
)
@options_file_option()
def make_spectrum(**kwargs: Any) -> None:
    """Make the spectra of a source or a catalogue, and their pictures.

    NAME is a catalogue of the repository, or a source that Sesame of the CDS
    knows. With RA and DEC, in the forms of find-images, it can be any name.
    FILE is a catalogue, as for register-targets.

    All images of the repository that contain a target are measured by the
    stock pipelines. Run again, the command makes only what is missing or out
    of date: spectra with new images, with other versions of images or
    other calibrations, of moved or new targets. The exit status is 1 if there
    is no spectrum, if a step fails, or if the file of an image is gone or
    cannot be read completely.
    """
    from .script.make_spectrum import make_spectrum as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


@click.command("register-targets", cls=ButlerCommand, short_help="SPHEREx: register a catalogue of targets.")
@repo_argument(required=True)
@click.argument("catalog_name")
@click.argument("file")
@_column_options
@click.option(
    "--ref-epoch",
    type=PlainNumber(1800, 2200),
    metavar="YEAR",
    help="Julian year of all positions, such as 2016.0, if there is no column with it.",
)
@click.option("--no-motion", is_flag=True, help="Use the positions as they are, without proper motions.")
@click.option(
    "--skip-bad-rows", is_flag=True, help="Leave out rows that cannot be targets, instead of registering nothing."
)
@click.option("--update", is_flag=True, help="Replace the rows of an existing catalogue: add and move targets.")
@click.option("--dry-run", is_flag=True, help="Check the file, and report the changes without making them.")
@options_file_option()
def register_targets(**kwargs: Any) -> None:
    """Register the sources of FILE as targets of the catalogue CATALOG_NAME.

    FILE is a text, ECSV, FITS, VOTable, IPAC or parquet table with a name, a
    right ascension and a declination (ICRS) in each row, perhaps proper motions
    with their epoch, and any other columns. If it contains several positions,
    choose with --ra-column and --dec-column. The whole table becomes the dataset
    target_catalog in the collection catalogs/CATALOG_NAME, an input of
    pipelines.

    If a row cannot be a target, all such rows are listed, nothing is
    registered, and the exit status is 1. With --skip-bad-rows the others are
    registered, and the exit status is 0. The rows of a VOTable that is
    incomplete, according to the service that made it, are registered, and the
    exit status is 1.
    """
    from .script.register_targets import register_targets as script

    if not script(**kwargs):
        raise click.exceptions.Exit(1)


@click.command(
    "stale-spectra", cls=ButlerCommand, short_help="SPHEREx: list the spectra that are out of date, and why."
)
@repo_argument(required=True, help="REPO is the URI or path of an existing repository.")
@click.argument("collection")
@click.option("--dataset-type", default=SPECTRA_TYPE, show_default=True, help="Dataset type of the spectra.")
@click.option(
    "--images", default=LEVEL2_COLLECTION, show_default=True, help="Collection of the images, the newest first."
)
@calibrations_option()
@click.option(
    "--catalogs",
    default=CATALOG_COLLECTION,
    show_default=True,
    help="Collection of the catalogue, the newest version first; {catalog} stands for its name.",
)
@where_option(help="Data query with which the spectra were made. Other images are not reported as new.")
@click.option(
    "--failed",
    is_flag=True,
    help="List spectra with failed measurements, too, so that they can be remade.",
)
@click.option(
    "--reason",
    help="List spectra of --failed only if the reason in their rows contains this text, such as 'no pixels'.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "ecsv"]),
    default="text",
    show_default=True,
    help="Format of the list.",
)
@click.option(
    "--print-query",
    type=click.Choice(["patches", "images"]),
    help="Instead of the list, print data queries with which pipetask remakes these spectra, one in a line: for their "
    "patches, or for the images to measure again. There is no output if no spectrum is out of date.",
)
@options_file_option()
def stale_spectra(**kwargs: Any) -> None:
    """List the spectra in COLLECTION that are out of date, and why.

    A spectrum is out of date if there is another version of an image, or
    another image that contains the target, if another calibration is valid
    for an exposure, or if the target has another position in the catalogue.
    The files of images and calibrations are not opened: an image file that
    was replaced in place, without an ingest, is found by check-provenance.

    The exit status is 0, whether there are such spectra or not.
    """
    from .script.stale_spectra import stale_spectra as script

    script(**kwargs)


@click.command("create-spherex", cls=ButlerCommand, short_help="SPHEREx: make an empty repository.")
@repo_argument(required=True, help="REPO is the path or URI of the new repository.")
@click.option(
    "--seed-config",
    default="resource://spherex/configs/butler.yaml",
    show_default=True,
    help="Configuration of the repository: a path or URI. One of your own includes the default.",
)
@options_file_option()
def create_spherex(**kwargs: Any) -> None:
    """Make an empty repository in REPO, with the dimensions of SPHEREx.

    It is butler create with our configuration. If it fails, or is interrupted,
    it removes what it has made.
    """
    from .script.create_spherex import create_spherex as script

    script(**kwargs)


@click.command("export-spectra", cls=ButlerCommand, short_help="SPHEREx: write spectra into files for other programs.")
@repo_argument(required=True, help="REPO is the URI or path of an existing repository.")
@click.argument("collection")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--dataset-type",
    default=SPECTRA_TYPE,
    show_default=True,
    help=f"Dataset type of the spectra; {CHANNEL_SPECTRA_TYPE} for the means in channels.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "html", "ecsv", "votable", "fits", "multispectrum"]),
    default="parquet",
    show_default=True,
    help="A parquet file or a page for the browser for each patch (html, with an index of all targets), an ECSV, "
    "VOTable or FITS file for each target, or a VOTable in IRSA's form MultiSpectrum for each patch.",
)
@click.option("--stamps", is_flag=True, help="Pages with the surroundings of each target in an image of each detector.")
@where_option(help="Data query for the patches, such as \"catalog = 'mine' AND patch IN (53184)\".")
@options_file_option()
def export_spectra(**kwargs: Any) -> None:
    """Write the spectra in COLLECTION into the directory OUT.

    All formats keep units, UCDs and descriptions. Parquet files also have the
    position of each target in the columns ra and dec.

    Interrupted, the same command goes on. Repeated after a change, it replaces
    the files of the patches that have changed.
    """
    from .script.export_spectra import export_spectra as script

    script(**kwargs)
