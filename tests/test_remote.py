"""Public buckets: reading without an account, in processes that have no credentials."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset
from lsst.resources import ResourcePath

from spherex.errors import RemoteError
from spherex.instrument import SPHEREx

from .level2_helpers import name_of, write_level2
from .programs import start_program

HINT = "for a public bucket, such as the archive's, set AWS_NO_SIGN_REQUEST=YES"


@pytest.fixture
def public(bucket: str, tmp_path: Path) -> str:
    """Return the URI of a directory with two images that anybody may read."""
    from lsst.resources.s3utils import getS3Client

    for detector in (1, 2):
        path = write_level2(tmp_path / "files", 0, detector, shape=(204, 204), origin=(918, 918))
        getS3Client().upload_file(str(path), "spherex", f"level2/{path.name}", ExtraArgs={"ACL": "public-read"})
    getS3Client().upload_file(str(path), "spherex", f"private/{path.name}")
    return f"{bucket}/level2/"


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Return a function that makes the environment of a user without AWS credentials."""

    def make(**variables: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        (tmp_path / "home").mkdir(exist_ok=True)
        # No metadata service answers at this port.
        return (
            kept
            | {"HOME": str(tmp_path / "home"), "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1/"}
            | variables
        )

    return make


def run_python(code: str, *words: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


READ_ALL_WAYS = """
import sys
from lsst.daf.butler import Butler
from spherex.remote import obey_no_sign_request
with Butler.from_config(sys.argv[1], collections="SPHEREx/level2") as butler:
    refs = sorted(butler.query_datasets("level2"))
    if len(sys.argv) > 2:
        obey_no_sign_request()
        print(butler.stored(refs[0]))
    whole = butler.get(refs[0])
    cut = butler.get(refs[0], parameters={"box": (3, 9, 4, 8)})
    assert (cut.data == whole.data[4:8, 3:9]).all()
    print(whole.shape, butler.get("level2.wcs", refs[0].dataId).naxis, butler.stored(refs[1]))
    uri = str(butler.getURI(refs[0]))
import spherex
print(spherex.read(uri).shape)
"""


def test_all_is_read_without_an_account(
    repo_root: Path, tmp_path: Path, public: str, environment: Callable[..., dict[str, str]]
) -> None:
    env = environment(AWS_NO_SIGN_REQUEST="YES")
    done = start_program("butler", "ingest-level2", repo_root, public, env=env)
    assert "2 files found: 2 ingested" in done.stdout, done.stderr
    done = start_program("butler", "find-images", repo_root, 30.5, 40.0, "--exact", env=env)
    assert done.returncode == 0, done.stderr
    done = run_python(READ_ALL_WAYS, repo_root, env=env)
    assert done.stdout.splitlines() == ["(204, 204) 2 True", "(204, 204)"], done.stderr
    done = run_python(READ_ALL_WAYS, repo_root, "files first", env=env)
    assert done.stdout.splitlines()[0] == "True", done.stderr
    (tmp_path / "out").mkdir()
    done = start_program(
        "butler", "retrieve-artifacts", repo_root, f"{tmp_path}/out/", "-d", "level2", "--collections", "*", env=env
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").rglob("level2_*.fits"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", pytest.param("forkserver", marks=pytest.mark.thorough)])
def test_workers_of_a_pipeline_read_without_an_account(
    repo_root: Path, public: str, environment: Callable[..., dict[str, str]], method: str
) -> None:
    env = environment(AWS_NO_SIGN_REQUEST="YES")
    start_program("butler", "ingest-level2", repo_root, public, env=env)
    pipeline = "-t spherex.tasks.QuickLookTask -c quickLook:connections.image=level2 -c quickLook:connections.plot=plot"
    words = ["-b", repo_root, "-i", "SPHEREx/level2", "--output-run", "plots", "--register-dataset-types"]
    done = start_program("pipetask", "run", *pipeline.split(), *words, "-j", 2, "--start-method", method, env=env)
    assert "Executed 2 quanta successfully, 0 failed" in done.stderr + done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [pytest.param({}, id="unset"), pytest.param({"AWS_NO_SIGN_REQUEST": "no"}, id="no", marks=pytest.mark.thorough)],
)
def test_without_the_variable_the_message_names_it(
    repo_root: Path, public: str, environment: Callable[..., dict[str, str]], variables: dict[str, str]
) -> None:
    start_program("butler", "ingest-level2", repo_root, public)
    for location in (public, f"{public}{name_of()}"):
        done = start_program("butler", "ingest-level2", repo_root, location, env=environment(**variables))
        assert done.returncode == 1
        assert HINT in done.stderr
    done = start_program("butler", "find-images", repo_root, 30.5, 40.0, "--exact", env=environment(**variables))
    assert HINT in done.stderr
    for change in ("", 'parameters={"box": (3, 9, 4, 8)}'):
        code = READ_ALL_WAYS.replace("get(refs[0])", f"get(refs[0], {change})")
        done = run_python(code, repo_root, env=environment(**variables))
        assert HINT in done.stderr.splitlines()[-1]
    done = run_python("import spherex, sys; spherex.read(sys.argv[1])", f"{public}{name_of()}", env=environment())
    assert done.stderr.splitlines()[-1].startswith("spherex.errors.RemoteError: Cannot read s3://spherex/level2/")


EXTENSIONS = {
    "SPHERExImage": ".fits",
    "CCDData": ".fits",
    "AstropyHDUList": ".fits",
    "AstropyQTable": ".ecsv",
    "AstropyParquet": ".parq",
    "ArrowParquet": ".parq",
    "NumpyArray": ".npy",
    "Packages": ".json",
    "StructuredDataDict": ".yaml",
}
"""Storage classes with a formatter of this package that reads files."""


def test_every_formatter_names_the_variable(
    repo_root: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = []
    with Butler.from_config(str(repo_root), writeable=True, run="run") as butler:
        SPHEREx().register(butler.registry)
        for name, extension in EXTENSIONS.items():
            kind = DatasetType(f"thing_{name}", ("instrument",), name, universe=butler.dimensions)
            butler.registry.registerDatasetType(kind)
            refs.append(DatasetRef(kind, butler.registry.expandDataId(instrument="SPHEREx"), "run"))
            uri = ResourcePath(f"{bucket}/{name}{extension}")
            uri.write(b"content")
            butler.ingest(FileDataset(uri, refs[-1:]), transfer="direct")
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        # Another server, for which there is no client yet. The request is not sent, because it cannot be signed.
        monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:1/")
        for ref in refs:
            with pytest.raises(ValueError, match="Failure from formatter") as raised:
                butler.get(ref)
            assert isinstance(raised.value.__cause__, RemoteError), ref
            assert HINT in str(raised.value.__cause__)


@pytest.mark.slow
def test_what_is_not_public_stays_so(repo_root: Path, public: str, environment: Callable[..., dict[str, str]]) -> None:
    env = environment(AWS_NO_SIGN_REQUEST="1")
    uri = f"s3://spherex/private/{name_of(0, 2)}"
    done = start_program("butler", "ingest-level2", repo_root, uri, env=env)
    assert (done.returncode, "no permission to read it" in done.stderr) == (1, True), done.stderr
    assert "1 ingested" in start_program("butler", "ingest-level2", repo_root, uri).stdout


def test_nothing_is_changed_without_the_variable() -> None:
    code = "import sys, spherex.cli.commands, spherex.formatters; print([m for m in sys.modules if 'botocore' in m])"
    kept: dict[str, Any] = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = run_python(code, env=kept)
    assert done.stdout.strip() == "[]", done.stderr
