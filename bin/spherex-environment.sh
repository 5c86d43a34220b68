# shellcheck shell=bash
# Sourced by spherex-demo, spherex-test and .ci/run: the Python environment they run in.
# Licence: BSD 3-clause, see LICENSE.
#
# It must do with bash 3.2 (macOS) and the standard library of Python.

spherex_root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

spherex_fail() {
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit 1
}

# Whether the command $1 is a Python that can make a virtual environment; $2 is
# an exact version such as 3.12, or "any" for all that the project runs on. A
# shim of a version manager may stand on PATH and yet run nothing.
spherex_is_usable() {
    "$1" - "$2" >/dev/null 2>&1 <<'PYTHON'
import ensurepip, sqlite3, ssl, sys, venv

version = ".".join(map(str, sys.version_info[:2]))
sys.exit(not (sys.version_info >= (3, 11) if sys.argv[1] == "any" else version == sys.argv[1]))
PYTHON
}

# Print the path of an interpreter of version $1 (3.11, 3.12, ...).
spherex_find_version() {
    local candidate
    for candidate in "python$1" python3 "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/python3; do
        if spherex_is_usable "$candidate" "$1"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

# Print the path of the interpreter to use: $PYTHON, else python3 if that is one
# of the tested versions, else the newest tested version, else a later one.
spherex_find_python() {
    local version tested="3.13 3.12 3.11"
    if [ -n "${PYTHON:-}" ]; then
        spherex_is_usable "$PYTHON" any ||
            spherex_fail "PYTHON=$PYTHON is not a Python 3.11 or later with the modules venv and ensurepip." \
                "Name another one, or unset PYTHON."
        "$PYTHON" -c 'import sys; print(sys.executable)'
        return
    fi
    for version in $tested; do
        if spherex_is_usable python3 "$version"; then
            python3 -c 'import sys; print(sys.executable)'
            return
        fi
    done
    for version in $tested; do
        spherex_find_version "$version" && return
    done
    if spherex_is_usable python3 any; then
        python3 -c 'import sys; print(sys.executable)'
        return
    fi
    spherex_fail "no Python 3.11 or later with the modules venv and ensurepip was found" \
        "(python3 is $(python3 --version 2>&1 | tail -n 1 || true))." \
        "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it:" \
        "PYTHON=/path/to/python3.12 $0"
}

# Keep the caches and temporary files of pip, pytest, matplotlib and astropy in
# the clone; temporary files in a folder that is removed when the script ends.
spherex_stay_inside() {
    local cache="$spherex_root/.cache"
    export PIP_CACHE_DIR="$cache/pip" PIP_DISABLE_PIP_VERSION_CHECK=1
    export XDG_CACHE_HOME="$cache" MPLCONFIGDIR="$cache/matplotlib"
    # Not XDG_CONFIG_HOME: pip may have its index from there.
    export ASTROPY_CACHE_DIR="$cache/astropy" ASTROPY_CONFIG_DIR="$cache/astropy-config"
    mkdir -p "$PIP_CACHE_DIR" "$MPLCONFIGDIR" "$ASTROPY_CACHE_DIR" "$ASTROPY_CONFIG_DIR"
    # What a killed run could not remove.
    find "$cache" -maxdepth 1 -name 'tmp.*' -mtime +1 -exec rm -rf -- {} +
    # Python puts sockets in TMPDIR, and the address of a socket has at most
    # 107 characters; its own part of them takes up to 40.
    if [ "${#cache}" -le 50 ]; then
        spherex_tmp=$(mktemp -d "$cache/tmp.XXXXXX")
    else
        spherex_tmp=$(mktemp -d)
    fi
    export TMPDIR="$spherex_tmp"
    trap 'rm -rf -- "$spherex_tmp"' EXIT
}

# Whether the interpreter $1 has all that pyproject.toml names, extra $2
# included, at the versions that it allows.
spherex_has_requirements() {
    "$1" - "$spherex_root/pyproject.toml" "$2" >/dev/null 2>&1 <<'PYTHON'
import sys
import tomllib
from importlib.metadata import version

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

with open(sys.argv[1], "rb") as stream:
    project = tomllib.load(stream)["project"]
lines = list(project["dependencies"])
if sys.argv[2]:
    lines += project["optional-dependencies"][sys.argv[2]]
for requirement in map(Requirement, lines):
    if requirement.marker is None or requirement.marker.evaluate():
        try:
            found = Version(version(requirement.name))
        except InvalidVersion:
            continue  # the version of an EUPS product, a git description: EUPS sees to it
        if not requirement.specifier.contains(found, prereleases=True):
            sys.exit(1)
PYTHON
}

# Print what an installation depends on: the clone's place (scripts and the
# editable install hold it) and the packaging tables of pyproject.toml.
spherex_fingerprint() {
    "$1" - "$spherex_root" <<'PYTHON'
import hashlib
import sys
import tomllib

with open(f"{sys.argv[1]}/pyproject.toml", "rb") as stream:
    toml = tomllib.load(stream)
tables = [toml["build-system"], toml["project"], toml["tool"]["setuptools"]]
print(sys.version.split()[0], sys.argv[1], hashlib.sha256(repr(tables).encode()).hexdigest())
PYTHON
}

# Put an environment with what pyproject.toml names first on PATH; $1 is an extra
# (test) or empty. An active environment that has it all is used as it is, and
# nothing is written there; else it is .venv-VERSION in the clone. Sets
# spherex_activate to the command that gives the user the same environment.
spherex_use_environment() {
    local extra=$1 python version venv fingerprint variable
    for variable in "${!DAF_BUTLER_@}"; do
        unset "$variable"
    done
    if [ -z "${PYTHON:-}" ] && [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}${EUPS_PATH:-}" ]; then
        if spherex_has_requirements python "$extra"; then
            export PYTHONPATH="$spherex_root/python${PYTHONPATH:+:$PYTHONPATH}"
            export PATH="$spherex_root/bin:$PATH"
            export DAF_BUTLER_PLUGINS="$spherex_root/python/spherex/cli/resources.yaml"
            spherex_activate=$(printf 'export PYTHONPATH=%q DAF_BUTLER_PLUGINS=%q' "$PYTHONPATH" "$DAF_BUTLER_PLUGINS")
            python -c 'import sys; print("Python", sys.version.split()[0], "of the active environment", sys.prefix)'
            return
        fi
        echo "The active environment lacks some of what pyproject.toml names: using one in the clone."
    fi

    python=$(spherex_find_python) || exit 1
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    fingerprint=$(spherex_fingerprint "$python")
    venv="$spherex_root/.venv-$version"
    # shellcheck disable=SC2034 # for the scripts that source this file
    spherex_activate="source $(printf '%q' "$venv/bin/activate")"
    unset PYTHONHOME PYTHONPATH

    # The stamps of all extras also say that the plain requirements are there.
    if ! grep -qsxF -- "$fingerprint" "$venv/spherex-installed"${extra:+"-$extra"}*; then
        if ! "$venv/bin/python" -c '' 2>/dev/null || ! grep -qsF -- "$venv" "$venv/bin/activate"; then
            echo "Making the virtual environment $venv"
            "$python" -m venv --clear "$venv" || spherex_fail "could not make $venv with $python"
        fi
        echo "Installing what pyproject.toml names into it (needs the network; minutes, once)"
        rm -f -- "$venv"/spherex-installed*
        "$venv/bin/python" -m pip install --quiet --editable "$spherex_root${extra:+[$extra]}" ||
            spherex_fail "pip could not install what pyproject.toml names (see above). Is the network there?"
        echo "$fingerprint" >"$venv/spherex-installed${extra:+-$extra}"
    fi
    # The clone's own bin first: pip writes a script that cannot run if there is a space in the path.
    export VIRTUAL_ENV="$venv" PATH="$spherex_root/bin:$venv/bin:$PATH"
    echo "Python $version of $venv"
}
