"""SPHEREx in the stock Rubin/LSST Butler."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib
    import importlib.metadata

    try:
        return importlib.metadata.version("spherex-butler")
    except importlib.metadata.PackageNotFoundError:
        pass
    # A checkout that only PYTHONPATH names has no metadata. This module is
    # there once scons has been run.
    try:
        return importlib.import_module("spherex.version").__version__
    except ModuleNotFoundError:
        return "unknown"
