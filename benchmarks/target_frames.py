"""Repositories with Level 2 frames that all contain the same targets."""

from __future__ import annotations

__all__ = ["TargetCost", "TargetFrames", "measure_in_process"]

import dataclasses
import functools
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from .files import Template, make_repository, simulate
from .level2_files import REAL_CARDS, level2_cards, level2_name
from .measure import Cost, run_process, run_program, search_path

_SERIAL = itertools.count()
_DETECTOR = 1
_MARGIN = 0.05
"""Fraction of the frame on each side without chosen targets."""

_AROUND = 64
"""Rows that are kept on each side of a single target."""


@dataclasses.dataclass(frozen=True)
class TargetFrames:
    """Frames of Quick Release 2 with the stars of the simulated sky, and their calibrations.

    Parameters
    ----------
    folder
        Folder of the files; existing files stay.
    side
        Rows and columns of a frame (pixels).
    """

    folder: Path
    side: int

    @functools.cached_property
    def _sample(self) -> Path:
        options = ("--product", "level2", "--release", "qr2", "--detectors", str(_DETECTOR), "--calibrations")
        simulate(self.folder / "sample", 1, self.side, *options)
        return self.folder / "sample" / "qr2"

    def read_truth(self) -> Table:
        """Return the stars of all frames, with their true fluxes (uJy)."""
        (truth,) = self._sample.glob("truth/**/*.ecsv")
        return Table.read(truth)

    def write_catalog(self, path: Path, number: int) -> float:
        """Write a catalogue of stars that lie in the frames, and return the row of the first.

        Parameters
        ----------
        path
            The file.
        number
            Largest number of stars.
        """
        stars = self.read_truth()
        margin = _MARGIN * self.side
        inner = [(stars[axis] > margin) & (stars[axis] < self.side - margin) for axis in "xy"]
        stars = stars[np.flatnonzero(inner[0] & inner[1])]
        # The table is not sorted by position, so that this is a random sample.
        chosen = stars[np.unique(np.linspace(0, len(stars) - 1, number).astype(int))]
        chosen["name", "ra", "dec"].write(path, overwrite=True)
        return float(chosen["y"][0])

    def write_frames(self, number: int, row: float | None = None) -> Path:
        """Write frames that differ by identity and time, and return their folder.

        Parameters
        ----------
        number
            Number of frames.
        row
            Row around which pixels are written, with holes in place of the
            others; by default all pixels are written.
        """
        (path,) = self._sample.glob("level2/**/*.fits")
        rows = range(self.side)
        if row is not None:
            rows = range(max(0, round(row) - _AROUND), min(self.side, round(row) + _AROUND))
        template = Template.of(path, REAL_CARDS, rows)
        folder = self.folder / "frames"
        folder.mkdir(parents=True, exist_ok=True)
        for exposure in range(number):
            template.write(folder / level2_name(exposure, _DETECTOR), level2_cards(exposure, _DETECTOR))
        return folder

    def make_repository(
        self, root: Path, catalog: Path, frames: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> Path:
        """Make a repository with frames, calibrations and a catalogue ``stars``.

        Parameters
        ----------
        root
            Root of the repository.
        catalog
            File of the catalogue.
        frames
            Folders or lists of files.
        environment
            Variables that differ from our own.
        """
        make_repository(root)
        calibrations = [path for path in self._sample.iterdir() if path.name not in ("level2", "truth")]
        for words in (
            ("ingest-level2", "--transfer", "direct", root, *frames),
            ("ingest-calibrations", "--transfer", "direct", root, *calibrations),
            ("register-targets", root, "stars", catalog),
        ):
            run_program("butler", *words, environment=environment)
        return root


@dataclasses.dataclass(frozen=True)
class TargetCost(Cost):
    """Cost of work on all images of a repository.

    Parameters
    ----------
    nbytes
        Bytes of all read system calls, with those of ranges of files.
    """

    nbytes: int = 0


def measure_in_process(repo: Path, work: str, variables: Mapping[str, str] | None = None) -> TargetCost:
    """Do a work of `benchmarks.target_process` in a process of its own.

    Parameters
    ----------
    repo
        The repository.
    work
        Name of the work.
    variables
        Variables of the process that differ from ours.
    """
    words = [sys.executable, "-m", "benchmarks.target_process", repo, work, f"benchmarks/{work}/{next(_SERIAL)}"]
    _, output = run_process(words, {**search_path(), **(variables or {})})
    return TargetCost(**json.loads(output.splitlines()[-1]))
