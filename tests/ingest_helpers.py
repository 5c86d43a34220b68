"""Small files of the simulator's form, and commands given in this process."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import resource
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.daf.butler.cli.butler import cli
from lsst.daf.butler.cli.utils import LogCliRunner

from .programs import start_program

SIDE = 16
BLOCK = 2880

FIRST_MJD = 61367.0
"""Begin of exposure 0: 2026-11-23T00:00:00 UTC."""

WCS: dict[str, Any] = {
    "WCSAXES": 2,
    "CTYPE1": "RA---TAN-SIP",
    "CTYPE2": "DEC--TAN-SIP",
    "CUNIT1": "deg",
    "CUNIT2": "deg",
    "CRPIX1": 8.5,
    "CRPIX2": 8.5,
    "CRVAL1": 30.0,
    "CRVAL2": 40.0,
    "CDELT1": 1.0,
    "CDELT2": 1.0,
    "PC1_1": -0.19,
    "PC1_2": 0.1,
    "PC2_1": 0.1,
    "PC2_2": 0.19,
    "LONPOLE": 180.0,
    "RADESYS": "ICRS",
    "A_ORDER": 2,
    "B_ORDER": 2,
    "A_0_0": 0.4,
    "A_2_0": 1e-4,
    "B_0_2": -2e-4,
}


class Bare(str):
    """A card value that is written as it stands, without quotes."""


def cards_of(exposure: int, detector: int, dark: bool = False) -> dict[str, Any]:
    """Return the cards of the IMAGE header that matter to an ingest."""
    begin = FIRST_MJD + 0.01 * exposure
    cards: dict[str, Any] = {
        "TELESCOP": "SPHEREx",
        "INSTRUME": "simulator",
        "DETECTOR": detector,
        "EXPOSURE": exposure,
        "IMAGETYP": "DARK" if dark else "SCIENCE",
        "OBSID": f"sim_{exposure:06d}",
        "TIMESYS": "UTC",
        "MJD-BEG": begin,
        "MJD-END": begin + 0.001,
        "XPOSURE": 113.58,
        "RA_BORE": 31.0,
        "DEC_BORE": 41.0,
        "ROLL": 12.5,
        "JITTER": 1.1,
        "SPS_FLAGS": "all_sky",
        "SPS_TARG": 42,
    }
    return cards if dark else cards | WCS | {"CRVAL1": (30.0 + 4.0 * exposure) % 360.0}


def file_bytes(cards: dict[str, Any], seed: int = 0, side: int = SIDE) -> bytes:
    """Return a product with these cards in its IMAGE header."""
    rng = np.random.default_rng(seed)
    parts = [header_bytes({"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True})]
    for name, bitpix in (("IMAGE", -32), ("FLAGS", 32), ("VARIANCE", -32)):
        layout = {"XTENSION": "IMAGE", "BITPIX": bitpix, "NAXIS": 2, "NAXIS1": side, "NAXIS2": side}
        layout |= {"PCOUNT": 0, "GCOUNT": 1, "EXTNAME": name}
        if name == "IMAGE":
            layout |= {"BUNIT": "electron/s"} | cards
        dtype = ">f4" if bitpix < 0 else ">i4"
        data = rng.integers(0, 100, (side, side)).astype(dtype).tobytes()
        parts += [header_bytes(layout), data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0")]
    return b"".join(parts)


def name_of(exposure: int, detector: int, dark: bool = False) -> str:
    """Return the name of a file."""
    return f"sim_exposure_{exposure:06d}_array_{detector}{'_dark_current' if dark else ''}.fits"


def write_file(
    directory: Path,
    exposure: int = 0,
    detector: int = 1,
    dark: bool = False,
    *,
    name: str | None = None,
    seed: int = 0,
    side: int = SIDE,
    change: dict[str, Any] | None = None,
) -> Path:
    """Write a file; ``change`` sets cards, or removes those that are None."""
    cards = cards_of(exposure, detector, dark) | (change or {})
    path = directory / (name or name_of(exposure, detector, dark))
    directory.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_bytes({k: v for k, v in cards.items() if v is not None}, seed, side))
    return path


def write_files(
    directory: Path, exposures: int, detectors: Sequence[int] = range(1, 7), dark: bool = False
) -> list[Path]:
    """Write all files of some exposures."""
    return [write_file(directory, e, d, dark, seed=e) for e in range(exposures) for d in detectors]


def header_bytes(cards: dict[str, Any]) -> bytes:
    lines = []
    for key, value in cards.items():
        if isinstance(value, bool):
            text = f"{'T' if value else 'F':>20}"
        elif isinstance(value, str) and not isinstance(value, Bare):
            text = f"'{value:8}'"
        else:
            text = f"{value!s:>20}"
        lines.append(f"{key:8}= {text}" if len(key) <= 8 else f"HIERARCH {key} = {text}")
    lines.append("END")
    header = "".join(f"{line:80}" for line in lines).encode()
    return header.ljust(-(-len(header) // BLOCK) * BLOCK)


class Outcome:
    """What a command printed and returned."""

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of the closing line by name."""
        line = next(line for line in self.output.splitlines() if re.search("files? found:", line))
        counts = {"found": int(re.search(r"(\d+) files? found", line)[1])}
        for number, name in re.findall(
            r"(\d+) (ingested|would be ingested|already there|skipped|failed|not tried)", line
        ):
            counts[name] = int(number)
        return counts

    @property
    def failures(self) -> list[str]:
        """Lines on failures."""
        return [line for line in self.output.splitlines() if line.startswith("failed: ")]

    def __repr__(self) -> str:
        return f"exit status {self.code}\n{self.output}"


def butler_command(*args: object) -> Outcome:
    """Give a command of ``butler``."""
    result = LogCliRunner().invoke(cli, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output, result.output
    return Outcome(result.exit_code, result.output)


def ingest(repo: Path, *args: object) -> Outcome:
    """Give ``butler ingest-simulated REPO ARGS``."""
    return butler_command("ingest-simulated", repo, *args)


def ingest_darks(repo: Path, *args: object) -> Outcome:
    """Ingest the darks."""
    return ingest(repo, "--regex", "dark_current.fits", "--ingest-type", "dark", *args)


def snapshot(repo: Path) -> dict[str, list[Any]]:
    """Return all that an ingest can change in a repository."""
    with Butler.from_config(str(repo)) as butler:
        content: dict[str, list[Any]] = {}
        for element in ("instrument", "detector", "exposure", "exposure_detector_region"):
            records = butler.query_dimension_records(element, explain=False)
            content[element] = sorted((record.toDict() for record in records), key=str)
        refs = [ref for refs in _datasets(butler) for ref in refs]
        content["datasets"] = sorted((str(ref.id), str(ref), str(butler.getURI(ref))) for ref in refs)
        content["collections"] = [str(info) for info in sorted(butler.collections.query_info("*"), key=str)]
    return content


def _datasets(butler: Butler) -> Iterator[list[Any]]:
    known = {dataset_type.name for dataset_type in butler.registry.queryDatasetTypes()}
    for collection in sorted(butler.collections.query("*")):
        for name in sorted(known):
            yield butler.query_datasets(name, collections=collection, explain=False, limit=None)


def datasets(repo: Path, name: str = "rawexp", run: str | None = None) -> dict[tuple[int, int], Any]:
    """Return (exposure, detector) and address of the datasets of a run."""
    with Butler.from_config(str(repo)) as butler:
        refs = butler.query_datasets(name, collections=run or f"{name}r", explain=False, limit=None)
        return {(ref.dataId["exposure"], ref.dataId["detector"]): butler.getURI(ref) for ref in refs}


def exposure_record(repo: Path, exposure: int = 0) -> Any:
    """Return the record of an exposure."""
    with Butler.from_config(str(repo)) as butler:
        (record,) = butler.query_dimension_records("exposure", instrument="simulator", exposure=exposure)
        return record


def region(repo: Path, exposure: int = 0, detector: int = 1) -> Any:
    """Return the region of an exposure and detector."""
    with Butler.from_config(str(repo)) as butler:
        (record,) = butler.query_dimension_records(
            "exposure_detector_region", instrument="simulator", exposure=exposure, detector=detector
        )
        return record.region


def ingest_bound(
    repo: Path, *args: object, limits: Sequence[tuple[int, int]] = (), command: str = "ingest-simulated"
) -> Outcome:
    """Ingest in another process, which permissions bind even if it is root's."""
    return bound_program("butler", command, repo, *args, limits=limits)


def bound_program(program: str, *args: object, limits: Sequence[tuple[int, int]] = ()) -> Outcome:
    """Run a program, which permissions bind even if it is root's, and which must not end with a traceback."""
    done = start_program(program, *args, preexec_fn=functools.partial(_be_bound, limits))
    assert "Traceback" not in done.stderr, done.stderr
    return Outcome(done.returncode, done.stdout + done.stderr)


def _be_bound(limits: Sequence[tuple[int, int]]) -> None:
    """Give up root's right to ignore permissions, for the program started next."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            libc.prctl(24, capability)  # PR_CAPBSET_DROP
    for name, limit in limits:
        resource.setrlimit(name, (limit, limit))


@contextlib.contextmanager
def small_file_system(path: Path, size: str) -> Iterator[Path]:
    """Mount a file system of some megabytes, such as 8m; skip the test where that is not permitted."""
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)
