"""Addresses of files: absolute paths on this machine, or URIs.

Paths are no URIs: for lsst.resources a ``#`` or ``?`` in one begins something
else than a name.
"""

from __future__ import annotations

__all__ = ["is_path", "name_of", "uri_of"]

import os
import urllib.parse

from lsst.resources import ResourcePath


def is_path(address: str) -> bool:
    """Whether an address is a path.

    Parameters
    ----------
    address
        Path or URI.

    Returns
    -------
    bool
        False for a URI.
    """
    return "://" not in address


def name_of(address: str) -> str:
    """Name of a file without its directory.

    Parameters
    ----------
    address
        Path or URI.

    Returns
    -------
    str
        The last part.
    """
    return os.path.basename(address) if is_path(address) else ResourcePath(address).basename()


def uri_of(address: str) -> ResourcePath:
    """URI of a file.

    Parameters
    ----------
    address
        Absolute path or URI.

    Returns
    -------
    lsst.resources.ResourcePath
        The same as a URI.
    """
    if is_path(address):
        address = f"file://{urllib.parse.quote(address)}"
    return ResourcePath(address, forceDirectory=False)
