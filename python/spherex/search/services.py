"""Search for images in the archive, by its services of the Virtual Observatory.

Queries are made by pyvo. Its answers are not read by pyvo, but by
`spherex.votables`: it opens nothing but the answer, and reads the archive's
tables with astropy 8, which refuses some of their columns.
"""

from __future__ import annotations

import dataclasses
import math
import re
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from spherex.archive import ARCHIVE_URL, Level2Name, cloud_uri, mirror_uri
from spherex.errors import ArchiveNameError, ProductError, SearchError, counted, first_line
from spherex.votables import incompleteness, parse_votable

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.io.votable.tree import VOTableFile
    from astropy.table import Table


IMAGE_SERVICE = f"{ARCHIVE_URL}SIA"
"""Service of the archive that finds images at a position (SIA, version 2)."""

TABLE_SERVICE = f"{ARCHIVE_URL}TAP"
"""Service of the archive that answers queries in ADQL (TAP)."""

ARCHIVE_COLLECTIONS = ("spherex_qr2", "spherex_qr2_deep", "spherex_qr3", "spherex_qr3_deep")
"""Collections of Level 2 images in the archive, for all releases that are public
(2026). A release is a span of time, and deep fields have a collection of their own.
"""

_EXTRA = 'pip install "spherex-butler[archive]"'
_NAME = re.compile(r"[\w.-]+", re.ASCII)
_SESAME_POSITION = re.compile(r"^%J\s+([\d.]+)\s+([-+\d.]+)", re.MULTILINE)
_SESAME_MOTION = re.compile(r"^%P\s+([-+\d.eE]+)\s+([-+\d.eE]+)", re.MULTILINE)
"""Lines of an answer with the position (deg, ICRS) and the proper motion (mas/yr)."""

_SCHEMES = ("https://", "http://", "s3://")
"""What an answer may point to: a path would be a file of this computer."""

_LAUNCH = 60745.0
"""Day of the launch (2025-03-11, MJD): there are no earlier images."""

_SHORTEST = 0.01
"""Shortest span of time that is cut (days), about eight exposures."""

_MOST_QUERIES = 300
"""Number of queries after which a search is given up as incomplete."""

_MOST_POSITIONS = 1000
"""Number of positions in one query."""

_CONNECTING = 10.0
"""Time for a connection (s). That for the answer is chosen by the caller."""

_REPEATED = (429, 502, 503, 504)
"""HTTP statuses of a busy server, after which a query is repeated."""


@dataclasses.dataclass(frozen=True)
class ArchiveImage:
    """Level 2 image in the archive.

    Parameters
    ----------
    name
        Name of the file.
    uri
        URI on the archive's server.
    cloud_uri
        URI of the copy in the cloud; empty if there is none.
    collection
        Collection of the archive.
    begin
        Begin of the exposure, UTC (MJD); NaN if it is unknown.
    """

    name: Level2Name
    uri: str
    cloud_uri: str
    collection: str
    begin: float


@dataclasses.dataclass
class ArchiveImages:
    """Answer of the archive.

    Parameters
    ----------
    images
        Newest version of each image, sorted by time.
    older
        Number of older versions.
    faults
        Why images may be missing; empty for a complete answer.
    """

    images: list[ArchiveImage] = dataclasses.field(default_factory=list)
    older: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)


_Span = tuple[float, float]
"""Begin and end of a span of time, UTC (MJD)."""


@dataclasses.dataclass
class ArchiveService:
    """Service of the archive.

    Parameters
    ----------
    uri
        URI of the service, `IMAGE_SERVICE` or `TABLE_SERVICE` for the archive.
    collections
        Collections of the archive.
    timeout
        Longest time without an answer (s).

    Raises
    ------
    SearchError
        If a name of a collection contains other characters than letters,
        digits and ``. _ -``, or pyvo is not installed.
    """

    uri: str
    collections: Sequence[str] = ARCHIVE_COLLECTIONS
    timeout: float = 300.0

    def __post_init__(self) -> None:
        for name in self.collections:
            if not _NAME.fullmatch(name):
                raise SearchError(f"{name!r} is not a name of a collection of the archive, such as spherex_qr2.")
        try:
            import pyvo  # noqa: F401
        except ModuleNotFoundError:
            raise SearchError(f"the archive is asked by pyvo, which is not installed: {_EXTRA}.") from None
        self._session = _session(self.timeout)

    def images_at(self, ra: float, dec: float, radius: float) -> ArchiveImages:
        """Find the images that touch a circle, by SIA.

        Parameters
        ----------
        ra, dec
            Middle, ICRS (deg).
        radius
            Radius (deg), above 0.

        Returns
        -------
        answer
            The images.

        Raises
        ------
        SearchError
            If the service does not answer, or not as the protocol requires.
        """
        from astropy.time import Time
        from pyvo.dal import SIA2Query

        search = _Search(self.uri)
        for collection in self.collections:

            def query(span: _Span | None, collection: str = collection) -> Any:
                times = None if span is None else tuple(Time(span, format="mjd"))
                return SIA2Query(
                    self.uri, (ra % 360.0, dec, radius), time=times, collection=collection, session=self._session
                )

            search.fetch(query, collection)
        return search.answer()

    def images_of(self, positions: Table, radius: float = 0.0) -> ArchiveImages:
        """Find the images of a catalogue, by TAP.

        Parameters
        ----------
        positions
            Table with the columns ``ra`` and ``dec``, ICRS (deg).
        radius
            Radius of a circle around each position that images must touch
            (deg); with 0 they must contain the position.

        Returns
        -------
        answer
            The images.

        Raises
        ------
        SearchError
            If the service does not answer, or not as the protocol requires.
        """
        from pyvo.dal import TAPQuery

        search = _Search(self.uri)
        for start in range(0, len(positions), _MOST_POSITIONS):
            part = positions[["ra", "dec"]][start : start + _MOST_POSITIONS]

            def query(span: _Span | None, part: Table = part) -> Any:
                text = adql(self.collections, radius, span)
                return TAPQuery(self.uri, text, uploads={"targets": part}, session=self._session)

            search.fetch(query, f"targets {start + 1} to {start + len(part)}")
        return search.answer()


def adql(collections: Iterable[str], radius: float, span: _Span | None) -> str:
    """Return the query for the images of uploaded positions.

    Parameters
    ----------
    collections
        Names of collections.
    radius
        Radius of a circle around each position (deg).
    span
        Span of time in which exposures begin; `None` for any.

    Notes
    -----
    The tables of the archive follow the Common Archive Observation Model. Their
    names and joins are those of the archive's tutorials (Caltech-IPAC,
    irsa-tutorials, SPHEREx). The service allows one geometric condition for
    each WHERE (Caltech-IPAC, libadql).
    """
    place = f"CIRCLE('ICRS', t.ra, t.dec, {radius!r})" if radius else "POINT('ICRS', t.ra, t.dec)"
    condition = f"{'INTERSECTS' if radius else 'CONTAINS'}({place}, p.poly) = 1"
    names = ", ".join(f"'{name}'" for name in collections)
    time = "" if span is None else f" AND p.time_bounds_lower >= {span[0]!r} AND p.time_bounds_lower <= {span[1]!r}"
    return (
        f"SELECT DISTINCT '{ARCHIVE_URL}' || a.uri AS access_url, o.collection AS obs_collection, "
        "p.time_bounds_lower AS t_min, p.time_bounds_upper AS t_max "
        "FROM TAP_UPLOAD.targets AS t, spherex.artifact a "
        "JOIN spherex.plane p ON a.planeid = p.planeid "
        "JOIN spherex.observation o ON o.obsid = p.obsid "
        f"WHERE {condition} AND o.collection IN ({names}){time}"
    )


_OFFLINE = "Images on disk need no connection: butler ingest-level2, or make-spectrum with --files DIRECTORY."
"""What can be done while a service does not answer."""


def position_of_name(name: str) -> SkyCoord:
    """Ask Sesame, the name service of the CDS, for the position of a name.

    `astropy.coordinates.SkyCoord.from_name` asks the same servers, but leaves
    out the proper motion: Barnard's star has moved by more than 4 arcmin.

    Parameters
    ----------
    name
        Name of a source, such as M31.

    Returns
    -------
    position
        ICRS, in the year 2000; with the proper motion if it is known.

    Raises
    ------
    SearchError
        If the name is unknown, or no server of Sesame answers.
    """
    from http.client import HTTPException
    from urllib.error import URLError

    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy.coordinates.name_resolve import sesame_url
    from astropy.time import Time
    from astropy.utils.data import get_readable_fileobj

    reasons: list[str] = []
    for server in dict.fromkeys(sesame_url.get()):
        try:
            # SIMBAD, NED and VizieR, in this order.
            with get_readable_fileobj(f"{server}SNV?{urllib.parse.quote(name)}", "utf-8", show_progress=False) as file:
                answer = file.read()
        except (OSError, HTTPException, ValueError) as error:
            cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
            reasons.append(f"{server}: {getattr(cause, 'strerror', None) or first_line(cause)}")
            continue
        if (place := _SESAME_POSITION.search(answer)) is None:
            if "*** Nothing found ***" in answer:
                raise SearchError(
                    f"the name {name!r} is not known to Sesame (SIMBAD, NED, VizieR); check it, or use RA DEC."
                )
            reasons.append(f"{server}: the answer has no position")
            continue
        ra, dec = (float(number) * units.deg for number in place.groups())
        if (motion := _SESAME_MOTION.search(answer)) is None:
            return SkyCoord(ra, dec)
        pmra, pmdec = (float(number) * units.mas / units.yr for number in motion.groups())
        return SkyCoord(ra, dec, pm_ra_cosdec=pmra, pm_dec=pmdec, obstime=Time(2000.0, format="jyear", scale="tdb"))
    raise SearchError(
        f"the position of {name!r} is not known, because Sesame does not answer ({reasons[0]}); use RA DEC, or try "
        "again with a connection to the internet."
    )


def _session(timeout: float) -> Any:
    """Return an HTTP session that waits for a limited time, and repeats queries to a busy server."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class Adapter(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> Any:
            return super().send(*args, **{**kwargs, "timeout": (min(_CONNECTING, timeout), timeout)})

    session = requests.Session()
    retry = Retry(
        total=None,
        connect=0,
        read=0,
        other=0,
        status=2,
        backoff_factor=0.5,
        status_forcelist=_REPEATED,
        allowed_methods=None,
        raise_on_status=False,
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter(max_retries=retry))
    return session


class _Search:
    """Queries of one search, and what came back."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._images: dict[str, ArchiveImage] = {}
        self._faults: dict[str, None] = {}
        self._nameless = 0

    def fetch(self, query: Callable[[_Span | None], Any], subject: str) -> None:
        """Make a query, in parts if the service leaves rows out.

        Parameters
        ----------
        query
            Function that returns the pyvo query for a span of time; for
            `None`, that for any time.
        subject
            What is asked for, for messages.
        """
        from astropy.time import Time

        whole = (_LAUNCH, float(Time.now().mjd) + 1.0)
        waiting: list[_Span | None] = [None]
        number = 0
        while waiting:
            span = waiting.pop()
            times, reason = self._read(query(span), subject)
            number += 1
            if not reason:
                continue
            begin, end = span or whole
            # A service that does not heed the time would never have less to say. Images without a time are in no part.
            is_heeded = all(lower <= end and upper >= begin for lower, upper in times)
            if is_heeded and end - begin > _SHORTEST and number + len(waiting) + 2 <= _MOST_QUERIES:
                middle = (begin + end) / 2
                waiting += [(middle, end), (begin, middle)]
            else:
                self._faults[
                    f"the answer of {self._service} for {subject} is incomplete: the service reports {reason}"
                ] = None

    def answer(self) -> ArchiveImages:
        """Return the images of all queries."""
        newest: dict[tuple[Any, int], ArchiveImage] = {}
        names = {image.name for image in self._images.values()}
        for image in self._images.values():
            key = image.name.observation, image.name.detector
            if key not in newest or _age(newest[key]) < _age(image):
                newest[key] = image
        if self._nameless:
            rows = counted(self._nameless, "row")
            self._faults[f"{rows} of {self._service} without a URI (https, http or s3) of a Level 2 image"] = None
        # Images without a time come last.
        images = sorted(newest.values(), key=lambda image: (math.isnan(image.begin), image.begin, str(image.name)))
        return ArchiveImages(images, len(names) - len(images), list(self._faults))

    def _read(self, query: Any, subject: str) -> tuple[list[_Span], str]:
        """Make a query; return the times of its images, and why some are missing."""
        votable = self._votable(query)
        status = incompleteness(votable)
        if status.startswith("ERROR"):
            reason = status.removeprefix("ERROR").lstrip(": ") or "without a reason"
            raise SearchError(f"{self._service} refuses the query for {subject}: {reason}.")
        times = []
        tables = [table.to_table(use_names_over_ids=True) for table in votable.iter_tables()]
        if not tables:
            raise SearchError(f"the answer of {self._service} does not contain a table; is it the right service?")
        for row in _rows(tables[0], self._service):
            begin, end = _number(row["t_min"]), _number(row["t_max"])
            times.append((begin, end))
            uri = _text(row["access_url"])
            try:
                name = Level2Name.parse(uri.rpartition("/")[2])
            except ArchiveNameError:
                self._nameless += 1
                continue
            if not uri.startswith(_SCHEMES):
                self._nameless += 1
                continue
            copy = cloud_uri(_text(row["cloud_access"]))
            if not copy.endswith(f"/{name}"):
                # TAP does not name the copies.
                copy = mirror_uri(uri)
            self._images[uri] = ArchiveImage(name, uri, copy, _text(row["obs_collection"]), begin)
        return times, status

    def _votable(self, query: Any) -> VOTableFile:
        from pyvo.dal import DALServiceError
        from urllib3.exceptions import HTTPError

        try:
            content = query.execute_raw()
        except (OSError, HTTPError, ValueError) as error:
            # requests raises an OSError, and a ValueError for what is not a URI.
            cause: BaseException = error
            while (inner := cause.__cause__ or cause.__context__) is not None:
                cause = inner
            raise SearchError(
                f"{self._service} does not answer ({first_line(cause)}); check the connection and the URI, or try "
                f"again later. {_OFFLINE}"
            ) from error
        try:
            return parse_votable(content, self._service)
        except ProductError as error:
            try:
                query.raise_if_error()
            except DALServiceError as refusal:
                raise SearchError(
                    f"{self._service} does not answer the query ({first_line(refusal)}); try again later. {_OFFLINE}"
                ) from error
            raise SearchError(f"the answer of {self._service} cannot be read: {error}.") from error


_COLUMNS = ("access_url", "cloud_access", "obs_collection", "t_min", "t_max")


def _rows(table: Table, service: str) -> Iterable[dict[str, Any]]:
    """Return the values of our columns, None where there is none."""
    known = {name.lower(): name for name in table.colnames}
    if "access_url" not in known:
        raise SearchError(f"the answer of {service} does not have a column access_url, but {', '.join(known)}.")
    empty = [None] * len(table)
    columns = [table[known[name]].tolist() if name in known else empty for name in _COLUMNS]
    return (dict(zip(_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else "" if value is None else str(value).strip()


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _age(image: ArchiveImage) -> tuple[Any, ...]:
    # Of one version in two releases the later one counts.
    return image.name.run.age_key, image.collection, image.uri
