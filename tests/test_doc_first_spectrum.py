"""The commands of doc/first_spectrum.md, with a local server in place of the archive; and how few they are."""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import pytest
from astropy.coordinates.name_resolve import sesame_url
from astropy.table import Table
from click.testing import CliRunner
from lsst.resources import ResourcePath
from lsst.resources.s3utils import getS3Client

from spherex.archive import ARCHIVE_URL
from spherex.archive.names import ARCHIVE_BUCKET
from spherex.cli.script import find_archive as script
from spherex_simulator.command import simulate

from .archive_server import TREE, Archive, Entry, serving_archive
from .ingest_helpers import butler_command
from .test_readme import ROOT, blocks_of

PAGE = ROOT / "doc" / "first_spectrum.md"
STAR = (289.24004250, 5.15044222, -598.183, -1365.274)
"""VB 10 in 2000, with its proper motion (deg, mas/yr; SIMBAD)."""
NOW = (289.235616, 5.140379)
"""In July 2026, the time of the images."""


@pytest.fixture
def archive(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """Answer for the archive, and serve its bucket, with eight images of the star."""
    sources = Table({"name": ["star"], "ra": NOW[:1], "dec": NOW[1:], "flux": [2e5], "temperature": [2600.0]})
    sources["slope"] = 0.0
    sources.write(tmp_path / "sources.ecsv")
    place = f"{NOW[0]},{NOW[1]}"
    words = [
        tmp_path / "files",
        "--product",
        "level2",
        "--release",
        "qr3",
        "--exposures",
        4,
        "--first-exposure",
        101_213,
    ]
    words += [
        "--start",
        "2026-02-14T00:00:00",
        "--center",
        place,
        "--shape",
        64,
        "--sources",
        tmp_path / "sources.ecsv",
        "--no-stars",
        "--quiet",
    ]
    assert CliRunner().invoke(simulate, [str(word) for word in words]).exit_code == 0
    getS3Client().create_bucket(Bucket="nasa-irsa-spherex")
    archive = Archive(tmp_path / "web", names={"VB 10": STAR})
    for file in sorted((tmp_path / "files").rglob("level2_*.fits")):
        path = str(file.relative_to(tmp_path / "files"))
        ResourcePath(ARCHIVE_BUCKET + path).transfer_from(ResourcePath(file), "copy")
        uri = f"{ARCHIVE_URL}{TREE}/{path}"
        archive.entries.append(Entry(path, *NOW, 61300.0, "spherex_qr3", "nasa-irsa-spherex", uri))
    with serving_archive(archive), sesame_url.set([f"{archive.uri}/sesame/"]):
        monkeypatch.setattr(script, "IMAGE_SERVICE", f"{archive.uri}/SIA")
        yield archive


def test_three_commands_to_a_spectrum_and_five_lines_to_a_cutout() -> None:
    installation, *_ = blocks_of(PAGE, "sh")
    first, *_ = blocks_of(PAGE, "sh first")
    assert len((installation + first).splitlines()) <= 3
    cutout, *_ = blocks_of(PAGE, "python first")
    assert len(cutout.splitlines()) <= 5
    assert ".plot()" in cutout


@pytest.mark.slow
def test_commands_of_the_page(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyvo")
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")

    def give(block: str) -> str:
        printed = ""
        for line in block.splitlines():
            program, *words = shlex.split(line)
            assert program == "butler"
            outcome = butler_command(*words)
            assert outcome.code == 0, outcome
            printed += outcome.output
        return printed

    first, again = blocks_of(PAGE, "sh first")
    printed = give(first)
    # Where the star is today depends on the day, by 1e-7 degrees.
    expected = re.sub(
        r"RA 289\.235\d+, Dec 5\.140\d+ in the", "RA , Dec  in the", "".join(blocks_of(PAGE, "text first"))
    )
    printed = re.sub(r"RA 289\.235\d+, Dec 5\.140\d+ in the", "RA , Dec  in the", printed)
    printed = re.sub(rf"{tmp_path}/(SKY/spectra/VB_10/)\S*", r"\1...", printed)
    # The archive has whole frames.
    lines = [line for line in printed.splitlines() if "cutout, smaller than the frame" not in line]
    assert lines == expected.splitlines()
    assert "".join(blocks_of(PAGE, "text again")).strip() in give(again)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks_of(PAGE, "python first")), {}, PAGE.name, None, 0)
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples).failed == 0
    assert Path("magnitudes.png").stat().st_size > 10_000
