"""SPHEREx in the stock Rubin/LSST Butler.

The names here are what most users need. They are imported when they are used,
so that ``import spherex`` costs nothing. Everything else is reached by its
room, such as `spherex.image`, `spherex.spectra` or `spherex.tasks`, which is
imported when it is used too; the page doc/extending.md lists the rooms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spherex.errors import UserError
    from spherex.fits import open_product as open
    from spherex.fits import read_product as read
    from spherex.fits import write_product as write
    from spherex.image import Box, FlagTable, SPHERExImage
    from spherex.making import get_spectrum, spectrum
    from spherex.search import cutout, find_images
    from spherex.spectra import combine_channels, gather_spectrum, measure_targets, plot_spectrum

    __version__: str

__all__ = [
    "Box",
    "FlagTable",
    "SPHERExImage",
    "UserError",
    "__version__",
    "combine_channels",
    "cutout",
    "find_images",
    "gather_spectrum",
    "get_spectrum",
    "measure_targets",
    "open",
    "plot_spectrum",
    "read",
    "spectrum",
    "write",
]

_ORIGINS = {
    "Box": ("image", "Box"),
    "FlagTable": ("image", "FlagTable"),
    "SPHERExImage": ("image", "SPHERExImage"),
    "UserError": ("errors", "UserError"),
    "combine_channels": ("spectra", "combine_channels"),
    "cutout": ("search", "cutout"),
    "find_images": ("search", "find_images"),
    "gather_spectrum": ("spectra", "gather_spectrum"),
    "get_spectrum": ("making", "get_spectrum"),
    "measure_targets": ("spectra", "measure_targets"),
    "open": ("fits", "open_product"),
    "plot_spectrum": ("spectra", "plot_spectrum"),
    "read": ("fits", "read_product"),
    "spectrum": ("making", "spectrum"),
    "write": ("fits", "write_product"),
}
"""Room of each public name, and its name there."""


def _version() -> str:
    import importlib
    import importlib.metadata
    import os
    import subprocess
    import tomllib
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    except (OSError, KeyError, ValueError):
        project = {}
    is_clone = project.get("name") == "spherex-butler"
    # Metadata, and the module that scons writes, are of the day on which they were made. So a clone asks git first.
    if is_clone and (root / ".git").exists():
        # With both paths given, git does not refuse a clone of another user, such as that of a shared stack.
        command = ["git", "--no-optional-locks", f"--git-dir={root / '.git'}", f"--work-tree={root}"]
        command += ["describe", "--always", "--exclude=*", "--dirty=.dirty"]
        # In a hook of git these are of the clone with the hook.
        hooked = {"GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"}
        known = {name: value for name, value in os.environ.items() if name not in hooked}
        try:
            commit = subprocess.run(
                command, cwd=root, env=known, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass
        else:
            return f"{project['version']}+g{commit}"
    try:
        return importlib.metadata.version("spherex-butler")
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        return str(importlib.import_module("spherex.version").__version__)
    except ModuleNotFoundError:
        return f"{project['version']}+unknown" if is_clone else "unknown"


# Hidden from type checkers, which would accept any name otherwise.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        import importlib

        if name == "__version__":
            value: Any = _version()
        elif name in _ORIGINS:
            room, original = _ORIGINS[name]
            value = getattr(importlib.import_module(f"spherex.{room}"), original)
        else:
            module = f"spherex.{name}"
            try:
                # A name with an underscore is asked for by Python itself, and none of ours.
                value = None if name.startswith("_") else importlib.import_module(module)
            except ModuleNotFoundError as error:
                if error.name != module:
                    raise
                value = None
            if value is None:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
