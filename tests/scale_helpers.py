"""A small survey, and all commands and pipelines on it in a repository of any configuration."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
from astropy.table import QTable
from click.testing import CliRunner
from lsst.ctrl.mpexec.cli.pipetask import cli as pipetask
from lsst.daf.butler import Butler
from lsst.daf.butler.cli.utils import LogCliRunner

import spherex
from spherex_simulator.command import simulate

from .ingest_helpers import butler_command

RA, DEC = 305.75, 38.83
"""Right ascension and declination (deg) of the first target, around which the images are cut."""
DETECTORS = (2, 5)
"""They see the same sky."""
EXPOSURES = (1, 2)
"""They see the targets."""
CATALOG = "mine"
INPUTS = f"SPHEREx/level2,SPHEREx/calib,catalogs/{CATALOG}"
QUERY = f"instrument='SPHEREx' AND catalog='{CATALOG}'"
NEWER = "l2b-v28-2026-300"
"""A processing run after that of the simulated files."""
_TABLE = f"""\
# %ECSV 1.0
# ---
# datatype:
# - {{name: name, datatype: string}}
# - {{name: ra, unit: deg, datatype: float64}}
# - {{name: dec, unit: deg, datatype: float64}}
# - {{name: flux, unit: uJy, datatype: float64}}
# - {{name: temperature, unit: K, datatype: float64}}
# schema: astropy-2.0
name ra dec flux temperature
bright {RA} {DEC} 20000 5000
faint {RA + 0.005} {DEC + 0.002} 500 4000
"""


@dataclasses.dataclass(frozen=True)
class Survey:
    """Small files of both kinds, and a repository with SQLite in which all was done with them.

    Parameters
    ----------
    folder
        Directory of all.
    """

    folder: Path

    @property
    def archive(self) -> Path:
        """Directory of Level 2 images and their calibrations."""
        return self.folder / "archive"

    @property
    def newer(self) -> Path:
        """Directory of newer versions of the images of one detector."""
        return self.folder / "newer"

    @property
    def simulated(self) -> Path:
        """Directory of raw images and darks."""
        return self.folder / "simulated"

    @property
    def catalog(self) -> Path:
        """Table of the targets."""
        return self.folder / "sources.ecsv"

    @property
    def repo(self) -> Path:
        """Repository with SQLite; not to be changed."""
        return self.folder / "repo"

    @property
    def printed(self) -> Path:
        """What `do_everything` returned for that repository, as JSON."""
        return self.folder / "printed.json"

    def write(self) -> None:
        """Write the files."""
        self.catalog.write_text(_TABLE)
        level2 = ["--product", "level2", "--release", "qr3", "--center", f"{RA},{DEC}", "--sources", self.catalog]
        level2 += ["--exposures", len(EXPOSURES), "--first-exposure", EXPOSURES[0], "--no-stars", "--calibrations"]
        level2 += ["--detectors", ",".join(map(str, DETECTORS))]
        raw = ["--exposures", 2, "--detectors", 1]
        for words in [self.archive, *level2], [self.simulated, *raw]:
            result = CliRunner().invoke(simulate, [str(word) for word in (*words, "--shape", 64, "--quiet")])
            assert result.exit_code == 0, result.output
        self.newer.mkdir()
        for path in self.archive.rglob("level2_*D2_*.fits"):
            shutil.copyfile(path, self.newer / f"{path.stem.rpartition('_')[0]}_{NEWER}.fits")

    def do_everything(self, repo: str) -> list[list[str]]:
        """Run all commands and pipelines, with files that stay in place.

        Parameters
        ----------
        repo
            URI of an empty repository.

        Returns
        -------
        printed
            The same as of `do_level2`.
        """
        printed = self.do_level2(repo, "direct")
        for kind in [], ["--regex", "dark_current.fits", "--ingest-type", "dark"]:
            command("ingest-simulated", repo, "--transfer", "direct", *kind, self.simulated)
        run_pipeline(repo, "ExamplePipeline.yaml", "-i", "rawexpr,darkr", "-o", "subtracted")
        run_pipeline(repo, "DarkPipeline.yaml", "-i", "darkr", "-o", "darks")
        command("certify-calibrations", repo, "darks", "calib", "combined_dark")
        run_pipeline(repo, "CalibratedPipeline.yaml#calibration", "-i", "rawexpr,calib", "-o", "calibrated")
        return printed

    def ingest(self, repo: str, transfer: str) -> None:
        """Ingest the images of the archive with their calibrations, and register the targets.

        Parameters
        ----------
        repo
            URI of an empty repository.
        transfer
            How the files get there.
        """
        command("ingest-level2", repo, "--transfer", transfer, self.archive)
        command("ingest-calibrations", repo, "--transfer", transfer, self.archive)
        command("register-targets", repo, CATALOG, self.catalog)

    def do_level2(self, repo: str, transfer: str) -> list[list[str]]:
        """Make the spectra and the commands that search for images, and ingest newer images of a detector.

        Parameters
        ----------
        repo
            URI of an empty repository.
        transfer
            How the files get there.

        Returns
        -------
        printed
            Words that each command printed which reads the repository, without URIs and times of runs.
        """
        self.ingest(repo, transfer)
        run_pipeline(repo, "SpectrumPipeline.yaml", "-i", INPUTS, "-o", "spectra", "-d", QUERY)
        printed = [
            command("find-images", repo, RA, DEC, "--exact", "--flags"),
            command("list-calibrations", repo),
            command("check-provenance", repo),
            command("stale-spectra", repo, "spectra"),
        ]
        command("ingest-level2", repo, "--transfer", transfer, self.newer)
        printed.append(command("stale-spectra", repo, "spectra"))
        texts = [re.sub(r"(file|s3)://\S+|\d{8}T\d{6}Z|-{4,}", "", text) for text in printed]
        # A local repository is named by its path, too.
        return [text.replace(repo, "").split() for text in texts]


def command(*words: object) -> str:
    """Give a command of ``butler`` that has to succeed, and return what it prints."""
    outcome = butler_command(*words)
    assert outcome.code == 0, outcome
    return outcome.output


def run_pipeline(repo: str, name: str, *options: str) -> None:
    """Run a shipped pipeline in this process, where nothing is imported again."""
    words = ["run", "-b", repo, "-p", f"resource://spherex/pipelines/{name}", "--register-dataset-types"]
    result = LogCliRunner().invoke(pipetask, [*words, *options])
    assert result.exit_code == 0, result.output


def spectra_of(repo: str, collection: str = "spectra") -> dict[str, QTable]:
    """Return the spectra by the names of their targets."""
    with Butler.from_config(repo, collections=collection) as butler:
        records = butler.query_dimension_records("target", catalog=CATALOG)
        return {record.name: spherex.get_spectrum(butler, CATALOG, record.name) for record in records}


def assert_same_bits(found: QTable, expected: QTable) -> None:
    """Compare two spectra, column by column; the catalogue is another dataset in each repository."""
    assert len(found) == len(expected) > 0
    assert found.colnames == expected.colnames
    for name in set(expected.colnames) - {"catalog_id"}:
        values = [np.asarray(table[name]) for table in (found, expected)]
        assert values[0].dtype == values[1].dtype
        assert values[0].tobytes() == values[1].tobytes(), name
    assert found.meta == expected.meta
