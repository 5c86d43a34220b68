"""What the tests share: repositories, simulated files, the archive's samples."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy
from astropy.io import fits
from lsst.daf.butler import Butler, Config, DatasetType

from spherex.image import Plane, SPHERExImage
from spherex.instrument import SimulatorInstrument

from .parsed_yamls import keep_parsed_yamls
from .programs import run_well

if TYPE_CHECKING:
    from .scale_helpers import Survey

SEED = "resource://spherex/configs/butler.yaml"
DIMENSIONS = "resource://spherex/configs/dimensions.yaml"
SAMPLES = Path(__file__).parents[2] / "shared" / "samples" / "level2_qr1"


@pytest.fixture(scope="session", autouse=True)
def _parse_yamls_once() -> None:
    keep_parsed_yamls()


def _make_repo(path: Path, **overrides: object) -> Path:
    seed = Config(SEED)
    for key, value in overrides.items():
        seed["." + key.replace("__", ".")] = value
    Butler.makeRepo(str(path), config=seed, dimensionConfig=DIMENSIONS, forceConfigRoot=False)
    return path


@pytest.fixture(scope="session")
def empty_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of an empty repository of the shipped configuration; not to be changed."""
    return _make_repo(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def make_repo(empty_repo: Path) -> Callable[..., Path]:
    """Return a function that makes an empty repository of the shipped configuration."""

    def make(path: Path, **overrides: object) -> Path:
        if overrides:
            return _make_repo(path, **overrides)
        # Most tests need one, and a copy takes a tenth of the time.
        return shutil.copytree(empty_repo, path, dirs_exist_ok=True)

    return make


@pytest.fixture
def repo_root(tmp_path: Path, make_repo: Callable[..., Path]) -> Path:
    """Return the path of an empty repository."""
    return make_repo(tmp_path / "repo")


@pytest.fixture
def butler(repo_root: Path) -> Iterator[Butler]:
    """Return a writeable Butler with the simulator's detectors and one exposure."""
    with Butler.from_config(str(repo_root), writeable=True, run="run") as butler:
        SimulatorInstrument().register(butler.registry)
        butler.registry.insertDimensionData(
            "exposure", {"instrument": "simulator", "id": 1, "name": "sim_000001", "group_name": "20261123"}
        )
        for detector in range(1, 7):
            butler.registry.insertDimensionData(
                "exposure_detector_region", {"instrument": "simulator", "exposure": 1, "detector": detector}
            )
        yield butler


@pytest.fixture
def register(butler: Butler) -> Callable[[str, str], DatasetType]:
    """Return a function that registers a dataset type of exposure and detector."""

    def make(name: str, storage_class: str) -> DatasetType:
        dataset_type = DatasetType(
            name, ("instrument", "exposure", "detector"), storage_class, universe=butler.dimensions
        )
        butler.registry.registerDatasetType(dataset_type)
        return dataset_type

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator of the same random numbers each time."""
    return np.random.default_rng(20261123)


@pytest.fixture
def header() -> fits.Header:
    """Return the header of an image with a TAN-SIP, a pixel and a wavelength coordinate system."""
    header = fits.Header({"BUNIT": "electron/s", "DETECTOR": 3, "XPOSURE": 113.5826})
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 30.0, "CRVAL2": 40.0})
    header.update({"CRPIX1": 10.5, "CRPIX2": 20.5, "CDELT1": 1.0, "CDELT2": 1.0, "CUNIT1": "deg", "CUNIT2": "deg"})
    header.update({"PC1_1": -0.0015, "PC1_2": -0.0008, "PC2_1": -0.0008, "PC2_2": 0.0014})
    header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "A_0_0": 0.4, "B_0_2": 2e-6})
    header.update({"WCSAXESA": 2, "WCSNAMEA": "0-based active pixel coordinates", "CTYPE1A": "LINEAR"})
    header.update({"CTYPE2A": "LINEAR", "CRPIX1A": 1.0, "CRPIX2A": 1.0, "CRVAL1A": 0.0, "CRVAL2A": 0.0})
    header.update({"WCSAXESW": 2, "CTYPE1W": "WAVE-TAB", "CTYPE2W": "WAVE-TAB", "CUNIT1W": "um", "CUNIT2W": "um"})
    header.update({"CRPIX1W": 1.0, "CRPIX2W": 1.0, "CRVAL1W": 1.0, "CRVAL2W": 1.0, "CDELT1W": 1, "CDELT2W": 1})
    header.update({"PS1_0W": "WCS-WAVE", "PS2_0W": "WCS-WAVE", "PS1_1W": "VALUES", "PS2_1W": "VALUES"})
    header.update({"PS1_2W": "X", "PS2_2W": "Y", "PV1_3W": 1, "PV2_3W": 2})
    return header


@pytest.fixture
def image(rng: np.random.Generator, header: fits.Header) -> SPHERExImage:
    """Return an image of 60 rows and 50 columns with all that an image can have."""
    shape = (60, 50)
    values = np.stack([np.full((2, 2), 1.7) + [[0.0], [0.4]], np.full((2, 2), 0.04)], axis=-1).astype(np.float32)
    wave = fits.BinTableHDU.from_columns(
        [
            fits.Column("X", "2J", array=np.array([[1, 50]])),
            fits.Column("Y", "2J", array=np.array([[1, 60]])),
            fits.Column("VALUES", "8E", dim="(2,2,2)", array=values[np.newaxis]),
        ],
        name="WCS-WAVE",
    )
    pixels = rng.normal(5, 2, shape).astype(np.float32)
    pixels[3, 4] = np.nan
    return SPHERExImage(
        pixels,
        variance=rng.uniform(1, 2, shape).astype(np.float32),
        flags=rng.integers(0, 2**20, shape).astype(np.int32),
        header=header,
        planes={
            "ZODI": Plane(fits.ImageHDU(rng.uniform(0, 1, shape).astype(np.float32), name="ZODI")),
            "PSF": Plane(fits.ImageHDU(rng.uniform(0, 1, (4, 11, 11)).astype(np.float32), name="PSF")),
            "WCS-WAVE": Plane(wave),
        },
    )


@pytest.fixture
def archive_samples() -> list[Path]:
    """Return the genuine Level 2 cutouts, where they lie beside the clone."""
    files = sorted(SAMPLES.glob("*.fits"))
    if not files:
        pytest.skip(f"no genuine SPHEREx files beside the clone ({'/'.join(SAMPLES.parts[-3:])})")
    return files


@pytest.fixture(scope="session")
def simulated_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two simulated exposures, raws and darks; not to be changed."""
    folder = tmp_path_factory.mktemp("simulated")
    run_well("spherex-simulate", folder, "--exposures", "2", "--shape", "64")
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """Return a directory that one of the processes of pytest fills for all.

    Parameters
    ----------
    factory
        Fixture ``tmp_path_factory``.
    name
        Name of the directory.
    fill
        Function that writes its content, given its path.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / name, base / f"{name}.done"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            # What a failed attempt left.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            fill(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """Return a small survey, and a repository with SQLite in which all was done with it; not to be changed."""
    from .scale_helpers import Survey

    def fill(folder: Path) -> None:
        survey = Survey(folder)
        survey.write()
        _make_repo(survey.repo)
        survey.printed.write_text(json.dumps(survey.do_everything(str(survey.repo))))

    return Survey(made_once(tmp_path_factory, "survey", fill))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give an empty bucket of an S3 server in this process."""
    pytest.importorskip("moto.server")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # All servers of a process share their contents.
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    monkeypatch.setenv("S3_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("LSST_DISABLE_BUCKET_VALIDATION", "1")
    from lsst.resources.s3utils import getS3Client

    getS3Client().create_bucket(Bucket="spherex")
    try:
        yield "s3://spherex"
    finally:
        server.stop()


def _find_program(name: str) -> str:
    """Return the path of a program of PostgreSQL, which Debian does not put on PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(installed[-1]) if installed else None)
    if found is None or importlib.util.find_spec("psycopg2") is None:
        pytest.skip("there is no PostgreSQL server, or no psycopg2-binary")
    return found


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL server; return the URI of an empty database."""
    initdb, postgres = _find_program("initdb"), _find_program("postgres")
    # The server refuses to be started by root, and another user cannot enter the directories of pytest, nor
    # TMPDIR where it lies in a clone of root.
    user, parent = ("postgres", "/tmp") if os.getuid() == 0 else (None, None)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        if user is not None:
            shutil.chown(folder, user)
        command = [initdb, "-D", f"{folder}/db", "-A", "trust", "-U", "spherex", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, user=user, cwd="/")
        rules = Path(folder, "db", "pg_hba.conf")
        rules.write_text(f"host all team 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off", f"port={port}"]
        command = [postgres, "-D", f"{folder}/db", *(word for setting in settings for word in ("-c", setting))]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, user=user, cwd="/") as server:
            try:
                uri = f"postgresql+psycopg2://spherex@127.0.0.1:{port}/postgres"
                _make_database(uri)
                yield uri
            finally:
                # As pg_ctl stop -m fast.
                server.send_signal(signal.SIGINT)


@pytest.fixture
def team(postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URI of a database that asks for a password, which the file of LSST_DB_AUTH contains."""
    uri = sqlalchemy.make_url(postgresql)
    server = sqlalchemy.create_engine(uri, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.pool.NullPool)
    with server.connect() as connection:
        connection.exec_driver_sql("CREATE ROLE team LOGIN PASSWORD 'secret'")
        connection.exec_driver_sql("CREATE DATABASE team OWNER team")
        own = uri.set(username="team", password="secret", database="team")
        with sqlalchemy.create_engine(own, poolclass=sqlalchemy.pool.NullPool).begin() as extending:
            extending.exec_driver_sql("CREATE EXTENSION btree_gist")
        auth = tmp_path / "db-auth.yaml"
        entry = {"url": f"postgresql://{own.host}:{own.port}/team", "username": "team", "password": "secret"}
        auth.write_text(json.dumps([entry]))
        auth.chmod(0o600)
        monkeypatch.setenv("LSST_DB_AUTH", str(auth))
        yield f"{own.drivername}://{own.host}:{own.port}/team"
        connection.exec_driver_sql("DROP DATABASE team WITH (FORCE)")
        connection.exec_driver_sql("DROP ROLE team")


def _make_database(uri: str) -> None:
    engine = sqlalchemy.create_engine(uri)
    deadline = time.monotonic() + 60
    while True:
        try:
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("CREATE EXTENSION btree_gist"))
        except sqlalchemy.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            engine.dispose()
            return
