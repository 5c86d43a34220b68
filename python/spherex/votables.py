"""VOTables from other sites: a reader that opens nothing but the file.

The reader of astropy opens the URIs that a VOTable contains, of this computer
too (``<STREAM href="file:///etc/passwd">``). A service, a mail or a web page
is a usual source of a VOTable: all readers of this package open it here.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any, NoReturn
from xml.parsers import expat

from spherex.errors import ProductError, first_line

if TYPE_CHECKING:
    from astropy.io.votable.tree import VOTableFile


_TEXT_ARRAY = re.compile(rb"""(<(?:[\w.-]+:)?FIELD\b[^>]*?\barraysize\s*=\s*["'])\d+(?:x\d+)*x\*(?=["'])""")
"""Size of a field that is an array of any number of arrays, up to its last number."""


def open_votable(path: str) -> VOTableFile:
    """Read a VOTable, compressed or not.

    Parameters
    ----------
    path
        Path of a local file.

    Returns
    -------
    votable
        All its tables. `astropy.table.Table.read` takes it, if there is one.

    Raises
    ------
    ProductError
        If it is not a VOTable, if its rows are in another file, or if it
        declares entities, which can make a small file large.
    OSError
        If it cannot be read.
    """
    from astropy.utils.data import get_readable_fileobj

    with get_readable_fileobj(path, encoding="binary") as stream:
        return parse_votable(stream.read(), path)


def parse_votable(content: bytes, name: str) -> VOTableFile:
    """Parse a VOTable.

    Parameters
    ----------
    content
        The XML.
    name
        Path or URI of its origin.

    Returns
    -------
    votable
        All its tables.

    Raises
    ------
    ProductError
        As `open_votable`.
    """
    from astropy.io.votable import parse

    _check_xml(content)
    # Services write arraysize="54x*" for one text of any length, at which
    # astropy 8.0 gives the whole file up.
    content = _TEXT_ARRAY.sub(rb"\1*", content)
    with warnings.catch_warnings():
        # Faults of a column that is not used do not matter, and a column that
        # is used is checked by its reader.
        warnings.simplefilter("ignore")
        return parse(io.BytesIO(content), verify="ignore", filename=name)


def incompleteness(votable: VOTableFile) -> str:
    """Return why rows are missing according to the service that made a VOTable.

    Parameters
    ----------
    votable
        The VOTable.

    Returns
    -------
    reason
        QUERY_STATUS and its text, empty for a complete answer.

    Notes
    -----
    A service writes the status before the table, and OVERFLOW or ERROR after
    it (IVOA DALI 1.1, 2017, section 4.4).
    """
    waiting: list[Any] = [votable]
    while waiting:
        element = waiting.pop()
        waiting += element.resources
        for info in element.infos:
            status = (info.value or "").strip().upper()
            if info.name == "QUERY_STATUS" and status in ("OVERFLOW", "ERROR"):
                text = " ".join((info.content or "").split())
                return f"{status}: {text}" if text else status
    return ""


def explain_incompleteness(reason: str) -> str:
    """Return the message on a VOTable from which a service left rows out.

    Parameters
    ----------
    reason
        As `incompleteness` returns it.
    """
    return (
        f"it is incomplete: the service that made it reports {reason}; repeat the query, in parts or with a larger "
        "limit"
    )


def _check_xml(content: bytes) -> None:
    is_first = True

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal is_first
        name = name.rpartition(":")[2]
        if is_first and name != "VOTABLE":
            raise ProductError(f"it is not a VOTable, but XML with <{name[:40]}>")
        is_first = False
        if name == "STREAM" and "href" in attributes:
            raise ProductError(
                "its rows are in another file, which is not read (STREAM with href); "
                "save the table with its rows in the file"
            )

    def entity(name: str, *_: object) -> NoReturn:
        raise ProductError(f"it declares XML entities ({name[:40]}), which are not read; save the table again")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ProductError(f"it is not a VOTable ({first_line(error)})") from None
