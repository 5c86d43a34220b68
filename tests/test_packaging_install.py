"""The package in every way that it can be installed: pip, pip -e, EUPS, and several at once.

Each way has a virtual environment of its own with the dependencies of the one
that runs the tests, and the tests run the true ``butler``.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from .test_readme import blocks_of

ROOT = Path(__file__).parents[1]
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SITE_PACKAGES / "lsst" / "daf" / "butler").is_dir(),
        reason="the LSST packages are not in site-packages, whence these tests borrow them",
    ),
]


def run(*command, cwd, **variables):
    """Run a command with no more of our environment than it needs."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | {name: str(value) for name, value in variables.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@dataclass
class Environment:
    """A virtual environment that has all but this package."""

    path: Path

    def __post_init__(self):
        venv.create(self.path, symlinks=True)
        for entry in SITE_PACKAGES.iterdir():
            if "spherex" not in entry.name and entry.name != "__pycache__":
                (self.site_packages / entry.name).symlink_to(entry)

    @property
    def python(self):
        return self.path / "bin" / "python"

    @property
    def site_packages(self):
        return self.path / SITE_PACKAGES.relative_to(sys.prefix)

    def pip_install(self, *arguments):
        run(
            *(sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"),
            *("--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir", *arguments),
            cwd=self.path,
        )

    def butler(self, *arguments, **variables):
        main = "from lsst.daf.butler.cli.butler import main; main()"
        return run(self.python, "-c", main, *arguments, cwd=self.path, **variables)


def copy_clone(target):
    """Copy the files that make the distribution, and nothing that a build left."""
    target.mkdir()
    for name in ("bin", "configs", "pipelines", "python"):
        shutil.copytree(
            ROOT / name,
            target / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.dist-info", "version.py"),
        )
    for name in ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, target)
    return target


def build(kind, source, folder):
    """Build an sdist or a wheel, without any complaint of setuptools about what is in it."""
    output = run(
        *(sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", folder, source),
        cwd=folder,
    )
    assert "absent from the `packages` configuration" not in output, output
    assert "SetuptoolsDeprecationWarning" not in output, output


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    clone = copy_clone(folder / "clone")
    build("--sdist", clone, folder)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Build the wheel as pip does it: from the sdist, without the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    build("--wheel", source, folder)
    shutil.rmtree(source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def pip_environment(wheel, tmp_path_factory):
    environment = Environment(tmp_path_factory.mktemp("pip") / "venv")
    environment.pip_install(wheel)
    return environment


@pytest.fixture(scope="module")
def editable_environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editable")
    environment = Environment(folder / "venv")
    environment.pip_install("--editable", copy_clone(folder / "clone"))
    return environment


@pytest.fixture(scope="module")
def bare_environment(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return copy_clone(tmp_path_factory.mktemp("eups") / "spherex_butler")


@pytest.fixture(scope="module")
def built_clone(sdist):
    """Give a clone with entry points in python/, as scons and pip leave them there."""
    built = sdist.parent / "clone"
    assert list(built.glob("python/*.egg-info/entry_points.txt"))
    return built


def eups_variables(product):
    return {
        "PYTHONPATH": product / "python",
        "DAF_BUTLER_PLUGINS": product / "python" / "spherex" / "cli" / "resources.yaml",
    }


def assert_registered_once(environment, **variables):
    output = environment.butler("--help", **variables)
    # butler only warns of a plugin that cannot be imported.
    assert "plugin" not in output.lower(), output
    lines = [line for line in output.splitlines() if line.strip().startswith("ingest-simulated")]
    assert len(lines) == 1, output
    output = environment.butler("ingest-simulated", "--help", **variables)
    assert "--ingest-type" in output


def test_pip(pip_environment):
    assert_registered_once(pip_environment)


def test_pip_editable(editable_environment):
    assert_registered_once(editable_environment)


def test_eups_before_scons(bare_environment, clone):
    assert_registered_once(bare_environment, **eups_variables(clone))


def test_eups_after_scons(bare_environment, built_clone):
    assert_registered_once(bare_environment, **eups_variables(built_clone))


@pytest.mark.thorough
def test_python_path_of_a_built_clone(bare_environment, built_clone):
    assert_registered_once(bare_environment, PYTHONPATH=built_clone / "python")


def test_pip_and_eups(pip_environment, clone):
    assert_registered_once(pip_environment, **eups_variables(clone))


@pytest.mark.thorough
def test_pip_and_eups_after_scons(pip_environment, built_clone):
    assert_registered_once(pip_environment, **eups_variables(built_clone))


@pytest.mark.thorough
def test_pip_editable_and_eups(editable_environment):
    clone = editable_environment.path.parent / "clone"
    assert_registered_once(editable_environment, **eups_variables(clone))


@pytest.mark.thorough
def test_pip_editable_and_eups_of_another_clone(editable_environment, built_clone):
    assert_registered_once(editable_environment, **eups_variables(built_clone))


def commit_clone(target):
    """Make a git repository of the files, and clone it."""
    origin = copy_clone(target.with_name("origin"))
    git = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.org")
    for arguments in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "all")):
        run(*git, *arguments, cwd=origin)
    run("git", "clone", "--quiet", origin, target, cwd=origin)
    return target


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_version_of_a_clone_that_eups_set_up(bare_environment, tmp_path):
    clone = commit_clone(tmp_path / "spherex_butler")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    commit = run("git", "rev-parse", "--short", "HEAD", cwd=clone).strip()

    def version(program="import spherex; print(spherex.__version__)", **variables):
        return run(
            *(bare_environment.python, "-c", program), cwd=tmp_path, **eups_variables(clone), **variables
        ).strip()

    assert version() == f"{declared}+g{commit}"
    # What pipetask writes into the dataset `packages`.
    packages = "import spherex.tasks; from lsst.utils.packages import getPythonPackages as get; print(get()['spherex'])"
    assert version(packages) == f"{declared}+g{commit}"
    assert version(GIT_INDEX_FILE=tmp_path / "none") == f"{declared}+g{commit}"
    assert version(GIT_TEST_ASSUME_DIFFERENT_OWNER=1) == f"{declared}+g{commit}"
    commands = "import spherex; from spherex.cli.commands import *; print('__version__' in vars(spherex))"
    assert version(commands) == "False"
    assert version(PATH=tmp_path) == f"{declared}+unknown"
    with (clone / "README.md").open("a") as page:
        page.write("An edit.\n")
    assert version() == f"{declared}+g{commit}.dirty"
    shutil.rmtree(clone / ".git")
    assert version() == f"{declared}+unknown"


def test_version_of_a_clone_beside_an_older_installation(pip_environment, tmp_path):
    clone = commit_clone(tmp_path / "spherex_butler")
    program = (pip_environment.python, "-c", "import spherex; print(spherex.__version__)")
    assert "+" not in run(*program, cwd=tmp_path)
    assert "+g" in run(*program, cwd=tmp_path, **eups_variables(clone))


def test_the_check_of_packages_for_eups(bare_environment, clone):
    (check,) = blocks_of(ROOT / "doc" / "installation.md", "sh eups")
    path = os.pathsep.join([str(bare_environment.python.parent), os.environ["PATH"]])
    assert run("bash", "-c", check, cwd=clone, PATH=path) == ""
    astropy = next(bare_environment.site_packages.glob("astropy-*.dist-info"))
    away = astropy.rename(astropy.with_suffix(".away"))
    try:
        assert run("bash", "-c", check, cwd=clone, PATH=path) == "astropy>=7.1: missing\n"
    finally:
        away.rename(astropy)


def shipped_files():
    """Give the files of the packages below python/, through their links to the top level."""
    python = ROOT / "python"
    patterns = ("**/*.py", "py.typed", "cli/*.yaml", "configs/*", "pipelines/**/*.yaml", "templates/*.txt")
    names = {
        path.relative_to(python).as_posix()
        for package in ("spherex", "spherex_simulator")
        for pattern in patterns
        for path in (python / package).glob(pattern)
    }
    assert "spherex_simulator/templates/qr2_image.txt" in names
    return {name for name in names if not name.endswith(("__pycache__", "version.py"))}


def test_wheel_has_all_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        script = next(name for name in names if name.endswith(".data/scripts/spherex-simulate"))
        # pip puts the interpreter of the environment here.
        assert archive.read(script).startswith(b"#!python")
    assert shipped_files() <= names


def test_wheel_of_the_clone_has_the_same_files(wheel, tmp_path):
    clone = copy_clone(tmp_path / "clone")
    build("--wheel", clone, tmp_path)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(tmp_path / wheel.name) as other:
        assert set(one.namelist()) == set(other.namelist())


def test_sdist_has_all_files(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        links = [member.name for member in archive.getmembers() if member.issym()]
    assert {f"python/{name}" for name in shipped_files()} <= names
    assert {"bin/spherex-simulate", "LICENSE", "README.md", "pyproject.toml"} <= names
    # A link out of the package would point to nothing after unpacking.
    assert links == []


def test_resources_of_a_pip_install(pip_environment):
    for kind in ("configs", "pipelines"):
        for path in (ROOT / kind).rglob("*.yaml"):
            program = (
                "import sys; from lsst.resources import ResourcePath;"
                "sys.stdout.write(ResourcePath(sys.argv[1]).read().decode())"
            )
            output = run(
                *(pip_environment.python, "-c", program, f"resource://spherex/{path.relative_to(ROOT)}"),
                cwd=pip_environment.path,
            )
            assert output == path.read_text()


def test_repository_from_resources(pip_environment, tmp_path):
    pip_environment.butler(
        *("create", "--override", "--seed-config", "resource://spherex/configs/butler.yaml"),
        *("--dimension-config", "resource://spherex/configs/dimensions.yaml", tmp_path / "DATA"),
    )
    assert (tmp_path / "DATA" / "spherex.sqlite3").is_file()


def test_simulator_of_a_pip_install(pip_environment):
    script = pip_environment.path / "bin" / "spherex-simulate"
    # pip writes the interpreter into the first line, where a blank ends its path.
    command = [pip_environment.python, script] if " " in str(script) else [script]
    output = run(*command, "--help", cwd=pip_environment.path)
    assert "--exposures" in output
    # The templates of headers are files of the package.
    arguments = ("files", "--exposures", "1", "--detectors", "1", "--shape", "32")
    assert "Wrote 4 files" in run(*command, *arguments, cwd=pip_environment.path)
