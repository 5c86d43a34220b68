"""The shell scripts: what they say without installing anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HELPER = ROOT / "bin" / "spherex-environment.sh"


def run(*command, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "PYENV_ROOT")}
    return subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env=environment | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
    )


def run_helper(program, **variables):
    return run("bash", "-c", f'set -euo pipefail; source "{HELPER}"; {program}', **variables)


@pytest.fixture
def only_this_python(tmp_path):
    """Give a PATH and a home folder in which a shim that runs nothing comes first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python3", "python3.12", "python3.13"):
        shim = folder / name
        shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
        shim.chmod(0o755)
    for name in ("bash", "basename", "dirname", "tail"):
        target = next(Path(place) / name for place in ("/usr/bin", "/bin") if (Path(place) / name).exists())
        (folder / name).symlink_to(target)
    return {"PATH": folder, "HOME": tmp_path}


@pytest.mark.parametrize("name", ["spherex-demo", "spherex-test"])
def test_help(name):
    result = run(ROOT / "bin" / name, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"Usage: {name}")


@pytest.mark.parametrize("arguments", [["--shape=3"], ["one", "two"]])
def test_demo_refuses_arguments(arguments, tmp_path):
    result = run(ROOT / "bin" / "spherex-demo", *arguments)
    assert result.returncode == 1
    assert "see spherex-demo --help" in result.stderr


@pytest.mark.parametrize(
    ("folder", "words"), [("/proc", "cannot write /proc/spherex-demo.log; choose"), ("/dev/null/a", "cannot make the")]
)
def test_demo_names_a_folder_that_cannot_be_written(folder, words):
    result = run(ROOT / "bin" / "spherex-demo", folder)
    assert result.returncode == 1
    assert f"spherex-demo: {words}" in result.stderr
    assert result.stdout == ""


def test_scripts_work_through_a_link(tmp_path):
    link = tmp_path / "demo"
    link.symlink_to(ROOT / "bin" / "spherex-demo")
    assert run(link, "--help").returncode == 0


def test_python_of_the_user_is_taken():
    result = run_helper("spherex_find_python", PYTHON=sys.executable)
    assert Path(result.stdout.strip()).samefile(sys.executable)


def test_python_of_the_user_that_does_not_exist():
    result = run_helper("spherex_find_python", PYTHON="/no/such/python")
    assert result.returncode == 1
    assert "PYTHON=/no/such/python is not a Python 3.11 or later" in result.stderr


def test_no_python_at_all(only_this_python):
    result = run_helper("spherex_find_python", **only_this_python)
    assert result.returncode == 1
    assert "no Python 3.11 or later" in result.stderr


def test_python_of_pyenv_is_found_behind_its_shims(only_this_python):
    version = "{}.{}".format(*sys.version_info)
    home = only_this_python["HOME"]
    interpreter = home / ".pyenv" / "versions" / f"{version}.99" / "bin" / "python3"
    interpreter.parent.mkdir(parents=True)
    interpreter.symlink_to(sys.executable)
    result = run_helper(f"spherex_find_version {version}", **only_this_python)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).samefile(sys.executable)


def test_requirements_of_this_environment():
    assert run_helper(f"spherex_has_requirements '{sys.executable}' ''").returncode == 0


def test_requirements_of_an_empty_environment(tmp_path):
    assert run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv").returncode == 0
    result = run_helper(f"spherex_has_requirements '{tmp_path}/venv/bin/python' ''")
    assert result.returncode == 1


@pytest.mark.parametrize("index", ["https://example.org/simple", ""])
def test_uv_takes_the_package_index_of_pip(index, tmp_path):
    pytest.importorskip("pip", reason="this environment has no pip to take the index from")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "uv").write_text('#!/bin/sh\necho "$UV_DEFAULT_INDEX" "$@"\n')
    for path in folder.iterdir():
        path.chmod(0o755)
    result = run_helper(
        f"spherex_uv '{tmp_path}' pip list", PIP_INDEX_URL=index, PIP_CONFIG_FILE="/dev/null", UV_DEFAULT_INDEX=""
    )
    assert result.stdout == f"{index} pip list\n"


def test_fingerprint_is_one_line_and_tells_places_apart():
    result = run_helper('spherex_fingerprint "$spherex_root/.venv"')
    assert result.stdout.count("\n") == 1
    assert str(ROOT) in result.stdout
