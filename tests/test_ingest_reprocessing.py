"""Several processing runs of the same exposures in one repository."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from lsst.daf.butler import Butler, Timespan
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

from spherex.ingest.level2 import timespan_in
from spherex.ingest.reprocessing import difference

from .ingest_helpers import butler_command, snapshot
from .level2_helpers import (
    NEWER,
    OLDER,
    RUN,
    chain_of,
    ingest_level2,
    level2_record,
    level2_region,
    write_level2,
)
from .programs import run_well

QR1, QR2, QR3, LATER = "l2b-v12-2025-175", "l2b-v20-2025-299", "l2b-v27-2026-222", "l2b-v31-2027-040"
SECOND = 1 / 86400


def times(shift: float) -> dict[str, float]:
    """Return the times of our observation, moved by some seconds."""
    return {"MJD-BEG": 60971.000000012 + shift * SECOND, "MJD-END": 60971.001332312 + shift * SECOND}


def edited(
    source: Path, run: str, version: str, without: tuple[str, ...], change: Callable[[fits.Header], None]
) -> Path:
    """Write a file of another run with another header."""
    name = f"{source.name.partition('_spx_')[0]}_spx_{run}.fits"
    path = source.parent / name
    with fits.open(source, disable_image_compression=True) as hdus:
        hdus["PRIMARY"].header["VERSION"] = version
        for hdu in hdus[1:]:
            if "CRVAL1" in hdu.header:
                change(hdu.header)
        fits.HDUList([hdu for hdu in hdus if hdu.name not in without]).writeto(path)
    return path


def as_first(header: fits.Header) -> None:
    """Take away what Quick Release 1 does not have."""
    for keyword in [keyword for keyword in header if "_SC" in keyword and header[keyword] is not None]:
        del header[keyword]


def as_later(header: fits.Header) -> None:
    """Change all that another processing may change."""
    header["CRVAL1"] += 4 / 3600
    header["CRVAL2"] -= 3 / 3600
    if header["EXTNAME"] != "IMAGE":
        return
    header["SPS_TARGET"] = "SPX.2027.017838"
    header["SPS_FLAGS"] = "all_sky,deep_north"
    header["XPOSURE"] -= 0.75
    for name, shift in (("BEG", 0.0032), ("END", -0.0041)):
        header[f"MJD-{name}"] += shift * SECOND
    header["X_SC_START"] += 25.0


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Return files of the same exposures as four releases have them, by run."""
    folder = tmp_path_factory.mktemp("releases")
    options = "--start 2025-10-24T00:00:00 --exposures 2 --detectors 2,5 --shape 32 --no-stars".split()
    for release, run in (("qr2", QR2), ("qr3", QR3)):
        words = (folder / release, "--product", "level2", "--release", release, "--run", run)
        run_well("spherex-simulate", *words, *options)
    files = {run: sorted((folder / release).rglob("level2_*.fits")) for release, run in (("qr2", QR2), ("qr3", QR3))}
    planes = ("FLAGS", "VARIANCE", "ZODI", "PSF")
    files[QR1] = [edited(path, QR1, "6.2.0", planes, as_first) for path in files[QR2]]
    files[LATER] = [edited(path, LATER, "8.1.0", (), as_later) for path in files[QR3]]
    return files


@pytest.mark.slow
def test_four_releases_in_one_repository(
    tmp_path: Path, make_repo: Callable[..., Path], releases: dict[str, list[Path]]
) -> None:
    """Records are those of the newest release, in every order of ingest."""
    whole = make_repo(tmp_path / "whole")
    outcome = ingest_level2(whole, *itertools.chain(*releases.values()))
    assert (outcome.code, outcome.counts["ingested"]) == (0, 16), outcome
    assert chain_of(whole) == [f"SPHEREx/level2/{run}" for run in (LATER, QR3, QR2, QR1)]
    expected = snapshot(whole)
    headers = [fits.getheader(path, "IMAGE") for path in releases[LATER]]
    header = {cards["OBSID"]: cards for cards in headers}
    with Butler.from_config(str(whole)) as butler:
        records = list(butler.query_dimension_records("exposure", instrument="SPHEREx"))
        first = butler.query_datasets("level2", collections="SPHEREx/level2", instrument="SPHEREx")
    assert {ref.run for ref in first} == {f"SPHEREx/level2/{LATER}"}
    for record in records:
        card = header[record.name]
        assert (record.target_name, record.survey) == ("SPX.2027.017838", "all_sky,deep_north")
        assert record.exposure_time == card["XPOSURE"]
        assert record.spacecraft_x_start == card["X_SC_START"]
    for number, order in enumerate(list(itertools.permutations(releases))[1::12]):
        repo = make_repo(tmp_path / f"repo{number}")
        for run in order:
            outcome = ingest_level2(repo, *releases[run])
            assert (outcome.code, outcome.counts["ingested"]) == (0, 4), outcome
        found = snapshot(repo)
        assert {name: found[name] for name in expected if name not in ("datasets", "collections")} == {
            name: expected[name] for name in expected if name not in ("datasets", "collections")
        }
        assert chain_of(repo) == chain_of(whole)
        # The same again changes nothing.
        for run in order:
            outcome = ingest_level2(repo, *releases[run])
            assert (outcome.code, outcome.counts["already there"]) == (0, 4), outcome
        assert snapshot(repo) == found


def test_images_of_every_run_are_found(repo_root: Path, releases: dict[str, list[Path]]) -> None:
    for run in (LATER, QR1, QR3, QR2):
        assert ingest_level2(repo_root, *releases[run]).code == 0
    header = fits.getheader(releases[QR2][0], "IMAGE")
    for run in releases:
        outcome = butler_command(
            "find-images", repo_root, header["CRVAL1"], header["CRVAL2"], "--collections", f"SPHEREx/level2/{run}"
        )
        assert outcome.code == 0
        assert run in outcome.output
        assert header["OBSID"] in outcome.output


CHANGES: dict[str, tuple[dict[str, Any], str | None]] = {
    "target": ({"SPS_TARGET": "SPS_017838_S34"}, "target_name"),
    "flags": ({"SPS_FLAGS": "deep_north"}, "survey"),
    "exposure time": ({"XPOSURE": 112.9}, "exposure_time"),
    # The record spans both.
    "times": (times(0.0064), None),
    "one sampling interval": (times(1.535), None),
    "astrometry": ({"CRVAL2": 40.02}, "region"),
}
"""Changes of a header, and the field that the report names."""


@pytest.mark.parametrize("update", [[], ["--update-records"]], ids=["", "update"])
@pytest.mark.parametrize(("change", "differing"), CHANGES.values(), ids=CHANGES)
def test_newest_run_wins(
    tmp_path: Path,
    make_repo: Callable[..., Path],
    change: dict[str, Any],
    differing: str | None,
    update: list[str],
) -> None:
    old = write_level2(tmp_path / "in", run=RUN)
    new = write_level2(tmp_path / "in", run=NEWER, change=change)
    results = []
    for number, order in enumerate(((old, new), (new, old))):
        repo = make_repo(tmp_path / f"repo{number}")
        for path in order:
            outcome = ingest_level2(repo, *update, path)
            assert outcome.code == 0, outcome
        results.append((level2_record(repo), level2_region(repo)))
        line = "of them differ from another processing run; searches use the newest\n"
        assert (line in outcome.output) == (differing is not None)
        assert differing is None or f"\n{differing} of 1 {line}" in outcome.output
        assert ("record changed" in outcome.output) == (path is new or differing is None)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"MJD-BEG": 60971.0, "MJD-END": 60971.0013323 + 5 * SECOND}, "timespan of exposure"),
        (times(-30.0), "begins 30 s earlier and ends 30 s earlier than that in the repository"),
        ({"CRVAL2": 40.1}, "360 arcsec away from that in the repository"),
        ({"SPS_ELAT": 33.6}, "boresight of exposure"),
    ],
)
@pytest.mark.parametrize("runs", [(RUN, NEWER), (NEWER, RUN)], ids=["newer", "older"])
def test_contradictions_still_fail(
    repo_root: Path, tmp_path: Path, runs: tuple[str, str], change: dict[str, Any], text: str
) -> None:
    assert ingest_level2(repo_root, write_level2(tmp_path / "in", run=runs[0])).code == 0
    before = snapshot(repo_root)
    other = write_level2(tmp_path / "in", run=runs[1], change=change)
    outcome = ingest_level2(repo_root, other)
    assert outcome.code == 1
    (failure,) = outcome.failures
    assert text in failure
    assert "in the repository, from another processing run" in failure
    after = snapshot(repo_root)
    assert all(after[name] == before[name] for name in ("exposure", "exposure_detector_region", "datasets"))


def test_files_that_contradict_each_other_fail_together(repo_root: Path, tmp_path: Path) -> None:
    paths = [write_level2(tmp_path / "in"), write_level2(tmp_path / "in", run=NEWER, change=times(-30.0))]
    outcome = ingest_level2(repo_root, *paths)
    assert outcome.code == 1
    for failure, one, other in zip(outcome.failures, paths, paths[::-1], strict=True):
        assert failure.startswith(f"failed: {one}: timespan of exposure")
        assert failure.endswith(f"than that in {other}; fix or leave out the wrong one")


def test_update_corrects_the_newest_run_only(repo_root: Path, tmp_path: Path) -> None:
    wrong = write_level2(tmp_path / "in", run=NEWER, change=times(-30.0))
    assert ingest_level2(repo_root, write_level2(tmp_path / "in")).code == 0
    assert ingest_level2(repo_root, "--update-records", wrong).code == 0
    outcome = ingest_level2(repo_root, "--update-records", write_level2(tmp_path / "in", run=OLDER))
    assert outcome.code == 1
    assert "from another processing run; leave it out" in outcome.failures[0]


def test_a_record_that_removed_files_have_left_is_not_called_another_run(repo_root: Path, tmp_path: Path) -> None:
    assert ingest_level2(repo_root, write_level2(tmp_path / "first")).code == 0
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        butler.pruneDatasets(butler.query_datasets("level2", "*", find_first=False), purge=True, unstore=True)
    outcome = ingest_level2(repo_root, write_level2(tmp_path / "far", change={"CRVAL2": 40.1}))
    assert outcome.code == 1
    assert "360 arcsec away from that in the repository, from files that were removed; use --update" in outcome.output
    outcome = ingest_level2(repo_root, write_level2(tmp_path / "second", change={"CRVAL2": 40.02}))
    assert outcome.code == 0, outcome
    assert (
        "\nregion of 1 of them differ from the records of removed files; searches use the new values" in outcome.output
    )
    assert "processing run" not in outcome.output


def test_record_of_a_run_that_is_gone(repo_root: Path, tmp_path: Path) -> None:
    """The next run replaces it, also an older one."""
    ingest_level2(repo_root, write_level2(tmp_path / "in", run=NEWER, change={"SPS_TARGET": "another"}))
    assert butler_command("remove-runs", "--no-confirm", "--force", repo_root, f"SPHEREx/level2/{NEWER}").code == 0
    assert ingest_level2(repo_root, write_level2(tmp_path / "in", run=OLDER)).code == 0
    assert level2_record(repo_root).target_name == "87514"


def test_detectors_of_several_runs(repo_root: Path, tmp_path: Path) -> None:
    """An exposure is that of the newest run of any detector, a region that of its own detector."""
    ingest_level2(repo_root, *(write_level2(tmp_path / "in", detector=detector) for detector in (1, 2)))
    regions = [level2_region(repo_root, detector=detector) for detector in (1, 2)]
    new = {"CRVAL2": 40.001, "SPS_TARGET": "new"}
    ingest_level2(repo_root, write_level2(tmp_path / "in", detector=1, run=NEWER, change=new))
    assert level2_record(repo_root).target_name == "new"
    moved = [level2_region(repo_root, detector=detector) for detector in (1, 2)]
    assert (moved[0] == regions[0], moved[1] == regions[1]) == (False, True)
    ingest_level2(repo_root, write_level2(tmp_path / "more", detector=2, run=RUN, name="x.fits"), "--dataset-type", "c")
    assert level2_record(repo_root).target_name == "new"


@pytest.mark.parametrize("is_newer_first", [False, True])
@pytest.mark.parametrize(("first", "second"), [(0.0, 0.001), (0.001, 0.0), (0.0, 1.535), (1.535, 0.0)])
def test_record_spans_the_detectors_of_all_runs(
    repo_root: Path, tmp_path: Path, first: float, second: float, is_newer_first: bool
) -> None:
    """Also those that are left in an older run, and further ones of the newer run."""
    old = [write_level2(tmp_path / "in", detector=detector, change=times(first)) for detector in (1, 2, 3)]
    new = [write_level2(tmp_path / "in", detector=d, run=NEWER, change=times(second)) for d in (2, 3)]
    batches = [[new[0]], old, [new[1]]] if is_newer_first else [old, [new[0]], [new[1]]]
    for paths in batches:
        outcome = ingest_level2(repo_root, *paths)
        assert outcome.code == 0, outcome
        assert "differ" not in outcome.output
    begin, end = level2_record(repo_root).timespan.nsec
    spans = [timespan_in(fits.getheader(path, "IMAGE")).nsec for path in (*old, *new)]
    assert (begin, end) == (min(span[0] for span in spans), max(span[1] for span in spans))
    # The same again changes nothing.
    outcome = ingest_level2(repo_root, *old, *new)
    assert (outcome.code, outcome.counts["already there"]) == (0, 5), outcome
    assert "changed" not in outcome.output


def test_equal_runs_do_not_differ(repo_root: Path, tmp_path: Path) -> None:
    """Detectors of an exposure differ by a millisecond, and by a little in numbers."""
    changes = {1: {}, 2: {**times(0.001), "X_SC_START": 6210.5}, 3: {**times(-0.001), "X_SC_START": 6209.5}}
    for run in (RUN, NEWER, OLDER):
        paths = [write_level2(tmp_path / "in", detector=d, run=run, change=change) for d, change in changes.items()]
        outcome = ingest_level2(repo_root, *paths)
        assert (outcome.code, outcome.counts["ingested"]) == (0, 3), outcome
        assert "differ" not in outcome.output
        assert "changed" not in outcome.output


def test_update_after_removal_of_a_run(repo_root: Path, tmp_path: Path) -> None:
    """The record gets the values of the run that is left."""
    old = [write_level2(tmp_path / "in", detector=detector) for detector in (1, 2)]
    ingest_level2(repo_root, *old)
    before = level2_record(repo_root)
    ingest_level2(repo_root, write_level2(tmp_path / "in", run=NEWER, change={**times(1.5), "SPS_TARGET": "another"}))
    assert butler_command("remove-runs", "--no-confirm", "--force", repo_root, f"SPHEREx/level2/{NEWER}").code == 0
    assert level2_record(repo_root).target_name == "another"
    outcome = ingest_level2(repo_root, "--update-records", *old)
    assert (outcome.code, outcome.counts["already there"]) == (0, 2), outcome
    assert level2_record(repo_root) == before


def test_differences_of_times_and_places() -> None:
    begin, end = 1_760_000_000 * 10**9, 1_760_000_113 * 10**9
    span = Timespan.model_construct(nsec=(begin, end))
    later = Timespan.model_construct(nsec=(begin + 3_200_000, end))
    assert difference(later, span) == "begins 3.2 ms later than that"
    assert difference(span, later) == "begins 3.2 ms earlier than that"
    shifted = Timespan.model_construct(nsec=(begin - 40_000, end + 5400 * 10**9))
    assert difference(shifted, span) == "begins 40 us earlier and ends 1.5 h later than that"
    squares = [
        ConvexPolygon([UnitVector3d(LonLat.fromDegrees(x, y + dy)) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))])
        for dy in (0.0, 0.01)
    ]
    assert difference(*squares) == "is 36 arcsec away from that"
    assert difference(1.5, 2.5) == "is 1.5, but 2.5"
