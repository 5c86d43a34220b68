"""YAML from other sites: readers and checks that bound the work and the result by the size of the file.

The safe loader of PyYAML runs no code from a file. But a number of 200,000
sexagesimal digits takes 20 s, a few lines of aliases stand for billions of
values, and brackets in brackets end in a RecursionError. The loader of
astropy, for the description of columns in a table, is a safe loader too.
"""

from __future__ import annotations

__all__ = ["MOST_NODES", "check_ecsv", "check_fits_comments", "check_table_yaml", "load_yaml"]

import contextlib
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from spherex.errors import ProductError, first_line

MOST_BYTES = 10_000_000
"""Largest size of a file."""

MOST_NODES = 1_000_000
"""Largest number of values, with those of each alias: they take 1 to 2 minutes."""

DEEPEST = 50
"""Largest number of collections in each other."""

LONGEST_NUMBER = 100
"""Largest number of characters in a number or a time."""

_FITS_BEGIN = "--BEGIN-ASTROPY-SERIALIZED-COLUMNS--"
_FITS_END = "--END-ASTROPY-SERIALIZED-COLUMNS--"
"""Comments in a FITS header between which astropy describes columns."""

_SHORT = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))
"""Tags of numbers and times."""


class _Loader(yaml.SafeLoader):
    """Safe loader that counts values before it makes them."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._depth = 0
        self._nodes = 0
        self._sizes: dict[Any, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node; see `yaml.composer.Composer`."""
        event = self.peek_event()
        before = self._nodes
        if self._depth > DEEPEST:
            raise _error(event, f"collections are nested more than {DEEPEST} deep")
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if anchor not in self._sizes and anchor in self.anchors:
                raise _error(event, f"the alias {anchor} stands for itself")
            # The parser refuses unknown ones.
            self._nodes += self._sizes.get(anchor, 0)
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise _error(event, f"it expands to more than {MOST_NODES} values")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in _SHORT and len(node.value) > LONGEST_NUMBER:
            kind = node.tag.rpartition(":")[2]
            raise _error(node, f"{kind} {node.value[:20]}... has {len(node.value)} characters")
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            self._sizes[anchor] = self._nodes - before
        return node


def _error(place: Any, text: str) -> yaml.YAMLError:
    return yaml.YAMLError(f"line {place.start_mark.line + 1}: {text}")


def load_yaml(content: bytes) -> Any:
    """Return the value in a YAML file, without any Python object.

    Parameters
    ----------
    content
        Content of the file.

    Raises
    ------
    ProductError
        If it is not YAML, or stands for much more than its size.
    """
    with _loader(content) as loader:
        return loader.get_single_data()


def check_table_yaml(lines: Iterable[str]) -> None:
    """Check the YAML in which astropy describes the columns of a table, before astropy reads it.

    Parameters
    ----------
    lines
        Lines of the YAML, with any tags.

    Raises
    ------
    ProductError
        If it is not YAML, or stands for much more than its size.
    """
    with _loader(textwrap.dedent("\n".join(lines)).encode()) as loader:
        loader.get_single_node()


def check_ecsv(text: str) -> None:
    """Check the header of a table in ECSV.

    Parameters
    ----------
    text
        Content of the file.

    Raises
    ------
    ProductError
        If the header is not YAML, or stands for much more than its size.
    """
    lines = (line for line in map(str.strip, text.splitlines()) if line)
    header = itertools.takewhile(lambda line: line.startswith("#"), lines)
    check_table_yaml(line[1:] for line in header if line != "#")


def check_fits_comments(comments: Sequence[str]) -> None:
    """Check the description of columns that astropy writes into the comments of a FITS table.

    Parameters
    ----------
    comments
        All cards COMMENT of the header.

    Raises
    ------
    ProductError
        If the description is not YAML, or stands for much more than its size.
    """
    if _FITS_BEGIN in comments and _FITS_END in comments:
        # As astropy.io.fits.connect takes it from the header.
        cards = comments[comments.index(_FITS_BEGIN) + 1 : comments.index(_FITS_END)]
        text = "".join(card[:70] if len(card) == 71 else f"{card[:70]}\n" for card in cards)
        check_table_yaml(text.split("\n"))


@contextlib.contextmanager
def _loader(content: bytes) -> Iterator[_Loader]:
    if len(content) > MOST_BYTES:
        raise ProductError(f"it has {len(content)} bytes, more than {MOST_BYTES}")
    loader = None
    try:
        loader = _Loader(content)
        yield loader
    except Exception as error:
        # PyYAML raises errors of many kinds.
        raise ProductError(f"not YAML ({first_line(error)})") from None
    finally:
        if loader is not None:
            loader.dispose()
