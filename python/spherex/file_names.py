"""Names that become a part of the names of files: the one check of all of them.

The Butler puts names of collections, groups, catalogues and targets into the
paths of its files (``templates`` in configs/butler.yaml). It replaces some
characters, but it also decodes codes of URIs: ``%2e%2e/%2e%2e/outside`` is a
directory outside the repository.
"""

from __future__ import annotations

__all__ = ["LONGEST", "check_directory_name", "check_file_name"]

import re

from spherex.errors import FileNameError

LONGEST = 64
"""Largest number of characters in names of dimension records (configs/dimensions.yaml)."""

_LONGEST_RUN = 128
"""Largest number of characters in the name of a collection, the last part of names of files, which have 255 bytes."""

_CODE = re.compile(r"%[0-9A-Fa-f]{2}")
"""Characters as encoded in URIs."""


def check_file_name(name: str, longest: int = LONGEST) -> None:
    """Check a name in which the Butler replaces slashes and backslashes.

    Parameters
    ----------
    name
        The name.
    longest
        Largest number of characters.

    Raises
    ------
    FileNameError
        If it is empty or too long, or would be another name in a path. The
        message continues "the name".
    """
    if not name:
        raise FileNameError("is empty")
    if len(name) > longest:
        raise FileNameError(f"has {len(name)} characters, more than {longest}: {name}")
    if not name.isprintable():
        raise FileNameError(f"has characters that cannot be printed: {name!r}")
    if "$" in name:
        raise FileNameError(f"has a $, which programs may take for a variable in names of files: {name}")
    if code := _CODE.search(name):
        raise FileNameError(f"has {code[0]}, which would be read as another character in names of files: {name}")


def check_directory_name(name: str, slashes: bool = False) -> None:
    """Check a name that becomes a directory, or several.

    Parameters
    ----------
    name
        The name.
    slashes
        Whether slashes may separate directories.

    Raises
    ------
    FileNameError
        If it is empty or too long, would be another name in a path, or would
        be a directory elsewhere. The message continues "the name".
    """
    check_file_name(name, _LONGEST_RUN if slashes else LONGEST)
    if "\\" in name:
        raise FileNameError(f"has a backslash: {name}")
    if "/" in name and not slashes:
        raise FileNameError(f"has a slash: {name}")
    for part in name.split("/"):
        if part in ("", ".", "..") or part.strip() != part:
            raise FileNameError(f"has a part that is empty, '.', '..' or begins or ends with a blank: {name!r}")
