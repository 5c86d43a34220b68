# shellcheck shell=bash
# Sourced by spherex-demo, spherex-test and .ci/run: the Python environment they run in.
# Licence: BSD 3-clause, see LICENSE.
#
# It runs with bash 3.2 (macOS) and the standard library of Python; uv, from PyPI, installs the packages.

spherex_root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

# The tested versions of Python, newest first.
spherex_versions="3.13 3.12 3.11"

spherex_fail() {
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit 1
}

# Print the path of the interpreter $1, if its version is one of $2 (default: 3.11 and later)
# and it can make a virtual environment. The shim of a version manager may stand on PATH and fail.
spherex_check_python() {
    "$1" - "${2:-}" 2>/dev/null <<'PYTHON'
import ensurepip, sqlite3, ssl, sys, venv

version = "{}.{}".format(*sys.version_info)
if sys.version_info < (3, 11) or (sys.argv[1] and version not in sys.argv[1].split()):
    sys.exit(1)
print(sys.executable)
PYTHON
}

# Print the path of an interpreter of one of the versions $1: python3, or else the first version
# that is on PATH or installed by pyenv.
spherex_find_version() {
    local version candidate candidates=(python3)
    for version in $1; do
        candidates+=("python$version" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$version".*/bin/python3)
    done
    for candidate in "${candidates[@]}"; do
        spherex_check_python "$candidate" "$1" && return
    done
    return 1
}

# Print the path of the interpreter to use: $PYTHON, a tested version, or a later one.
spherex_find_python() {
    if [ -n "${PYTHON:-}" ]; then
        spherex_check_python "$PYTHON" ||
            spherex_fail "PYTHON=$PYTHON is not a Python 3.11 or later with the modules venv and ensurepip." \
                "Name another one, or unset PYTHON."
        return
    fi
    spherex_find_version "$spherex_versions" || spherex_check_python python3 ||
        spherex_fail "no Python 3.11 or later with the modules venv and ensurepip was found" \
            "(python3 is $(python3 --version 2>&1 | tail -n 1 || true))." \
            "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it:" \
            "PYTHON=/path/to/python3.12 $0"
}

# Keep the caches and temporary files of pip, uv, pytest, matplotlib and astropy
# in the clone; temporary files in a folder that is removed when the script ends.
spherex_stay_inside() {
    local cache="$spherex_root/.cache"
    export PIP_CACHE_DIR="$cache/pip" PIP_DISABLE_PIP_VERSION_CHECK=1
    export UV_CACHE_DIR="$cache/uv" UV_COMPILE_BYTECODE="${UV_COMPILE_BYTECODE:-1}" UV_SYSTEM_CERTS=1
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

# Print what an installation in $1 depends on: the location, which scripts and the editable
# install contain, and pyproject.toml.
spherex_fingerprint() {
    printf '%s %s\n' "$1" "$(cksum <"$spherex_root/pyproject.toml")"
}

# Run the uv of the environment $1, with the package index of its pip, whose settings uv does not read.
spherex_uv() {
    local venv=$1 index
    shift
    index=$("$venv/bin/python" -m pip config list | sed -nE "s/^(:env:|global)\.index-url='(.*)'$/\2/p" | head -n 1)
    UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}" "$venv/bin/uv" "$@"
}

# Make the environment $1 with the interpreter $2, and install the clone with the versions $3
# (highest or lowest-direct). A killed installation has no fingerprint, and is made anew.
spherex_install() {
    "$2" -m venv --clear "$1" &&
        "$1/bin/python" -m pip install --quiet uv &&
        (cd -- "$spherex_root" &&
            spherex_uv "$1" pip install --quiet --python "$1" --resolution "$3" --editable '.[test]') &&
        spherex_fingerprint "$1" >"$1/spherex-installed"
}

# Put an environment with what pyproject.toml names first on PATH. An active environment that has
# it, and the extra $1 if that is not empty, is used as it is, and nothing is written there; else it
# is .venv-VERSION in the clone, with the extra test. With $2 = lowest-direct it is one with the lowest
# versions allowed. Sets spherex_activate to the command that gives the user the same environment.
spherex_use_environment() {
    local extra=$1 resolution=${2:-highest} python version venv variable
    for variable in "${!DAF_BUTLER_@}"; do
        unset "$variable"
    done
    if [ -z "${PYTHON:-}" ] && [ "$resolution" = highest ] &&
        [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}${EUPS_PATH:-}" ]; then
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
    venv="$spherex_root/.venv-$version${2:+-$2}"
    # shellcheck disable=SC2034 # for the scripts that source this file
    spherex_activate="source $(printf '%q' "$venv/bin/activate")"
    unset PYTHONHOME PYTHONPATH
    if ! spherex_fingerprint "$venv" | cmp -s - "$venv/spherex-installed" || ! "$venv/bin/python" -c '' 2>/dev/null; then
        echo "Installing what pyproject.toml names in $venv (needs the network; a minute, once)"
        spherex_install "$venv" "$python" "$resolution" ||
            spherex_fail "could not make $venv with $python (see above). Is the network there?"
    fi
    # The clone's own bin first: its scripts run with a space in the path.
    export VIRTUAL_ENV="$venv" PATH="$spherex_root/bin:$venv/bin:$PATH"
    echo "Python $version of $venv"
}
