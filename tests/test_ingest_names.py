"""Names that download tools, scripts and browsers give to images of the archive."""

from __future__ import annotations

import gzip
import shutil
import urllib.parse
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, DatasetRef

from spherex.archive import Level2NameParts
from spherex.errors import ArchiveNameError
from spherex.ingest.level2 import FITS_REGEX

from .ingest_helpers import butler_command
from .level2_helpers import (
    NEWER,
    PERIOD,
    RUN,
    ingest_level2,
    level2_datasets,
    name_of,
    obsid_of,
    write_level2,
    write_many,
)

QUERY = "center=30.5,40.0deg&size=0.1"
SERVICE = "cutout?ra=30.5&dec=40.0&size=0.01&path="


def names_of_tools(number: int, detector: int) -> dict[str, str]:
    """Return path and name by tool; doc/file_names.md has the sources."""
    name = name_of(number, detector)
    stem = name.removesuffix(".fits")
    key = f"spherex/qr2/level2/{PERIOD}/{RUN}/{detector}/{name}"
    return {
        "aws s3 cp, s5cmd": f"level2/{PERIOD}/{RUN}/{detector}/{name}",
        "sx_phot cutouts": f"cutouts/ra30p5_40p0/{name}",
        "spherex-tools": f"NGC 6888_{name}",
        "spherex-tools cutouts": f"NGC6888_cutout_{name}",
        "script of IRSA": f"{stem}-cutout.fits",
        "script of IRSA, again": f"{stem}-cutout (1).fits",
        "spherex-cutoutdb": f"cutouts/M31/spherex_qr2/{PERIOD}/{RUN}/D{detector}/M31__{stem}__sz60.0as__1a2b3c4d.fits",
        "spherex-retrieval": f"cutout_0007_{obsid_of(number)}_D{detector}.fits",
        "spherex-retrieval cache": f"cache/{number:08x}{detector:08x}.fits",
        "spxquery": f"data/D{detector}/{obsid_of(number)}.fits",
        "spherex_cubemaking": f"images/{obsid_of(number)}.fits",
        "observation and detector": f"{obsid_of(number)}D{detector}.fits",
        "run as directory": f"{RUN}/m31_{number}_{detector}.fits",
        "wget": f"{name}?{QUERY}",
        "wget, again": f"{name}.1",
        "wget of the cutout service": SERVICE + urllib.parse.quote(key, safe=""),
        "Chrome": f"{stem} (1).fits",
        "Firefox": f"{stem}(2).fits",
        "Safari": f"{stem}-1.fits",
        "Finder": f"{stem} copy.fits",
        "Explorer": f"{stem} - Copy.FITS",
        "browser without extension": stem,
        "fit": f"{stem}.fit",
        "percent": urllib.parse.quote(f"{name}?{QUERY}", safe=""),
    }


def test_directory_with_the_names_of_many_tools(repo_root: Path, tmp_path: Path) -> None:
    """Each file is another exposure, so that each must find its own dataset."""
    tools = list(names_of_tools(0, 1))
    folder = tmp_path / "in"
    for number, tool in enumerate(tools):
        path = folder / names_of_tools(number, 1 + number % 6)[tool]
        write_level2(path.parent, number, 1 + number % 6, name=path.name, seed=number)
    for name in ("level2.txt", "README.md", "images.csv"):
        (folder / name).write_text("x")
    (folder / "spectral_wcs_D4_spx_cal-wcs-v4-2025-254.fits").write_bytes(b"x")
    (folder / f"{name_of(90)}.part").write_bytes(b"x")
    outcome = ingest_level2(repo_root, "--processing-run", RUN, folder)
    assert outcome.code == 0, outcome
    assert outcome.counts["ingested"] == len(tools) == 24
    assert "5 other files in these directories left out: 3 not FITS, 2 with other names (--regex)" in outcome.output
    assert level2_datasets(repo_root).keys() == {(number, 1 + number % 6) for number in range(len(tools))}
    again = ingest_level2(repo_root, "--processing-run", RUN, folder)
    assert (again.code, again.counts["already there"]) == (0, len(tools))


def test_genuine_files_with_a_target_before_the_name(
    repo_root: Path, tmp_path: Path, archive_samples: list[Path]
) -> None:
    """The run is in the name; that of the user must not take its place."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in archive_samples:
        shutil.copy(path, folder / f"NGC6888_cutout_{path.name}")
    outcome = ingest_level2(repo_root, "--processing-run", "l2b-v11-2025-162", folder)
    assert outcome.code == 1
    assert (outcome.counts["ingested"], outcome.counts["failed"]) == (6, 18)
    for failure in outcome.failures:
        assert "but --processing-run is l2b-v11-2025-162; rename the file" in failure
    outcome = ingest_level2(repo_root, folder)
    assert (outcome.code, outcome.counts["ingested"]) == (0, 18)
    for path in archive_samples:
        run = path.stem.partition("_spx_")[2]
        found = butler_command("query-datasets", repo_root, "level2", "--collections", f"SPHEREx/level2/{run}")
        assert found.code == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"x_{obsid_of(1)}D1.fits", f"OBSID in the header is {obsid_of(0)}, but the file name has {obsid_of(1)}"),
        (f"x_{obsid_of(0)}_D2.fits", "DETECTOR in the header is 1, but the file name has 2"),
        (f"x_{name_of(1)}", f"OBSID in the header is {obsid_of(0)}, but the file name has {obsid_of(1)}"),
        (f"m31_{NEWER}.fits", f"its name contains the run {NEWER}, but --processing-run is {RUN}"),
        (name_of(0, 1, NEWER), f"its name contains the run {NEWER}, but --processing-run is {RUN}"),
        (f"{name_of(0)}_{name_of(1)}", "contains more than one observation: 2025W43_1A_0000_1, 2025W43_1A_0000_2"),
        (f"{obsid_of(0)}_{RUN}_{NEWER}.fits", "contains more than one run"),
        (f"M31_level2_{obsid_of(0)}D7_spx_{RUN}.fits", "with a detector 1 to 6"),
        (f"{obsid_of(0)}_l2b-v1-2025-400.fits", "2025 does not have a day 400"),
    ],
)
def test_what_name_header_and_option_say_must_agree(repo_root: Path, tmp_path: Path, name: str, message: str) -> None:
    path = write_level2(tmp_path, name=name)
    outcome = ingest_level2(repo_root, "--processing-run", RUN, path)
    assert outcome.code == 1
    assert message in outcome.failures[0]


def test_directory_and_header_must_agree(repo_root: Path, tmp_path: Path) -> None:
    outcome = ingest_level2(repo_root, write_level2(tmp_path / RUN / "D4", detector=1, name="m31.fits"))
    assert "DETECTOR in the header is 1, but its directory is D4" in outcome.failures[0]


@pytest.mark.parametrize("name", [f"{name_of()}.gz", name_of()])
def test_gzip_is_named(repo_root: Path, tmp_path: Path, name: str) -> None:
    path = write_level2(tmp_path / "plain")
    packed = tmp_path / "in" / name
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    outcome = ingest_level2(repo_root, packed.parent)
    assert outcome.code == 1
    (failure,) = outcome.failures
    assert "it is compressed by gzip, and parts of a compressed file cannot be read; decompress it: gunzip" in failure


def test_uri_of_the_cutout_service_names_the_image() -> None:
    parts = Level2NameParts.find(f"{SERVICE}spherex/qr2/level2/{PERIOD}/{RUN}/1/{name_of()}")
    assert (str(parts.observation), parts.detector, str(parts.run)) == (obsid_of(), 1, RUN)


def test_parts_of_a_name() -> None:
    assert Level2NameParts.find("m31.fits") == Level2NameParts()
    assert Level2NameParts.find(f"{obsid_of()}.fits").detector is None
    assert Level2NameParts.find(f"12{obsid_of()}.fits") == Level2NameParts(), "not digits of another number"
    assert Level2NameParts.find("dark_spx_cal-dark-v4-2025-254.fits").run is None, "not the run of an image"
    assert str(Level2NameParts.find("x_l2b_retry-v20-2025-299.fits").run) == "l2b_retry-v20-2025-299"
    with pytest.raises(ArchiveNameError):
        Level2NameParts.find(f"{obsid_of(0)} {obsid_of(1)}")


def test_other_products_in_a_directory_are_not_looked_at() -> None:
    import re

    for name in ("spectral_wcs_D4_spx_cal-wcs-v4-2025-254.fits", f"{name_of()}.part", f"{name_of()}.png", "a.txt"):
        assert not re.search(FITS_REGEX, name)


def test_files_in_a_bucket_that_are_not_looked_at(repo_root: Path, tmp_path: Path, bucket: str) -> None:
    from lsst.resources import ResourcePath

    (path,) = write_many(tmp_path, 1, [1])
    for name, content in ((path.name, path.read_bytes()), ("notes.txt", b"x"), ("dark_spx_x.fits", b"x")):
        ResourcePath(f"{bucket}/in/{name}").write(content)
    outcome = ingest_level2(repo_root, f"{bucket}/in/")
    assert outcome.counts["ingested"] == 1
    assert "2 other files in these directories left out: 1 not FITS, 1 with other names (--regex)" in outcome.output


@pytest.mark.parametrize("mode", ["auto", "copy", "link", "hardlink", "symlink", "relsymlink"])
def test_stored_files_have_the_name_of_the_archive(repo_root: Path, tmp_path: Path, mode: str) -> None:
    path = write_level2(tmp_path / "in", name=f"M31_{name_of()}?{QUERY}")
    content = path.read_bytes()
    outcome = ingest_level2(repo_root, "--transfer", mode, path.parent)
    assert (outcome.code, outcome.counts["ingested"]) == (0, 1), outcome
    (uri,) = level2_datasets(repo_root).values()
    stored = Path(uri.ospath)
    assert stored.relative_to(repo_root).as_posix() == f"SPHEREx/level2/{RUN}/level2/1/{PERIOD}/{name_of()}"
    assert stored.is_symlink() == ("symlink" in mode)
    assert stored.read_bytes() == content
    with Butler.from_config(str(repo_root), writeable=True) as butler:
        (ref,) = butler.query_datasets("level2", collections="SPHEREx/level2")
        assert butler.get(ref).unit == "MJy / sr"
        expanded = DatasetRef(ref.datasetType, butler.registry.expandDataId(ref.dataId), run=f"{ref.run}_of_template")
        by_template = Path(butler.getURI(expanded, predict=True).ospath).relative_to(repo_root)
        assert by_template.parent.as_posix() == f"{expanded.run}/level2/1/{PERIOD}", "the same directories"
        butler.pruneDatasets([ref], unstore=True, purge=True, disassociate=True)
    assert not stored.exists()
    assert path.read_bytes() == content


def test_nothing_is_left_of_a_transaction_that_fails(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_many(tmp_path / "in", 1, [1, 2])

    def fail(self: object, *args: object, **kwargs: object) -> None:
        raise OSError("no more")

    with Butler.from_config(str(repo_root)) as butler:
        monkeypatch.setattr(type(butler), "ingest", fail)
    outcome = ingest_level2(repo_root, "--transfer", "copy", *paths)
    assert (outcome.code, outcome.counts["failed"]) == (1, 2)
    assert not list(repo_root.rglob("level2_*.fits"))


def test_files_that_stay_where_they_are(repo_root: Path, tmp_path: Path) -> None:
    """Names that no formatter knows are read all the same."""
    for number, tool in enumerate(("wget", "wget, again", "browser without extension")):
        write_level2(tmp_path / "in", number, 1, name=names_of_tools(number, 1)[tool])
    assert ingest_level2(repo_root, "--transfer", "direct", tmp_path / "in").counts["ingested"] == 3
    with Butler.from_config(str(repo_root)) as butler:
        refs = butler.query_datasets("level2", collections="SPHEREx/level2")
        assert [butler.get(ref).unit for ref in refs] == ["MJy / sr"] * 3
