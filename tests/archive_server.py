"""Server that speaks the protocols of the archive, with answers of the form of the real ones.

SIA, version 2 (``/SIA``), TAP (``/TAP/sync``), Sesame (``/sesame/``), and files
with byte ranges. Columns are those of genuine answers: 51 of SIA, of which one
has the size of an array that astropy 8 refuses, as in tables of the archive;
four of our query of TAP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.parser
import email.policy
import io
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.votable import from_table
from astropy.table import MaskedColumn, Table

from .servers import QuietHandler, serving

SIA_COLUMNS = (
    "s_ra,s_dec,facility_name,instrument_name,dataproduct_subtype,calib_level,dataproduct_type,energy_bandpassname,"
    "energy_emband,obs_id,s_resolution,em_min,em_max,em_res_power,proposal_title,access_url,access_format,"
    "access_estsize,t_exptime,s_region,obs_collection,obs_intent,algorithm_name,facility_keywords,instrument_keywords,"
    "environment_photometric,proposal_id,proposal_pi,proposal_project,target_name,target_type,target_standard,"
    "target_moving,target_keywords,obs_release_date,s_xel1,s_xel2,s_pixel_scale,position_timedependent,t_min,t_max,"
    "t_resolution,t_xel,obs_publisher_did,s_fov,em_xel,pol_states,pol_xel,cloud_access,o_ucd,upload_row_id"
).split(",")
TREE = "ibe/data/spherex"
_HALF_FIELD = 1.75
_EXPOSURE = 0.0013323
"""Length of an exposure (days)."""


@dataclasses.dataclass
class Entry:
    """Image that the services know; ``path`` is below the tree of the archive."""

    path: str
    ra: float
    dec: float
    begin: float | None
    collection: str = "spherex_qr2"
    bucket: str = "spherex"
    uri: str | None = None
    """In place of the URI on this server."""


@dataclasses.dataclass
class Archive:
    """Content and behaviour of a server, and the requests to it."""

    root: Path
    entries: list[Entry] = dataclasses.field(default_factory=list)
    limit: int = 10_000
    """Largest number of rows in an answer."""
    heeds_time: bool = True
    busy: int = 0
    """Number of requests that are still to be refused by 503."""
    answer: tuple[int, bytes] | None = None
    """Status and body of every answer of the services."""
    names: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    """Positions that Sesame knows, with the proper motion if it is known (deg, mas/yr)."""
    requests: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    uri: str = ""

    def at(
        self, positions: Iterable[tuple[float, float]], radius: float, collections: Sequence[str], span: Sequence[float]
    ) -> list[Entry]:
        """Return the entries that fit."""
        vectors = np.array([vector_of(ra, dec) for ra, dec in positions])
        nearest = np.cos(np.radians(_HALF_FIELD + radius))
        found = []
        for entry in self.entries:
            begin = np.nan if entry.begin is None else entry.begin
            is_then = not (span and self.heeds_time) or (begin <= span[1] and begin + _EXPOSURE >= span[0])
            is_there = bool(np.any(vectors @ vector_of(entry.ra, entry.dec) > nearest))
            if is_there and is_then and entry.collection in collections:
                found.append(entry)
        return found

    def sia(self, query: Mapping[str, Sequence[str]]) -> bytes:
        """Answer a query of SIA."""
        shape, ra, dec, radius = query["POS"][0].split()
        assert shape.upper() == "CIRCLE"
        if not -90 <= float(dec) <= 90:
            return error(f"UsageFault: BAD_REQUEST: dec value {dec} lies outside valid interval [-90, 90]")
        span = [float(word) for word in query.get("TIME", [""])[0].split()]
        found = self.at([(float(ra), float(dec))], float(radius), query["COLLECTION"], span)
        rows = [self._row(entry) for entry in found[: self.limit]]
        return votable([[row.get(name, "") for name in SIA_COLUMNS] for row in rows], SIA_COLUMNS, self._status(found))

    def tap(self, form: Mapping[str, str], uploads: Mapping[str, bytes]) -> bytes:
        """Answer our query of TAP."""
        query = form["QUERY"]
        assert (form["LANG"], form["UPLOAD"]) == ("ADQL", "targets,param:targets")
        targets = Table.read(io.BytesIO(uploads["targets"]), format="votable")
        condition = (
            r"WHERE (CONTAINS|INTERSECTS)\((POINT|CIRCLE)\('ICRS', t\.ra, t\.dec(?:, ([\d.e-]+))?\), p\.poly\) = 1"
        )
        match = re.search(condition, query)
        assert match is not None, query
        assert (match[1], match[2]) in (("CONTAINS", "POINT"), ("INTERSECTS", "CIRCLE"))
        names = re.search(r"o\.collection IN \(([^)]*)\)", query)
        assert names is not None
        span = [float(text) for text in re.findall(r"time_bounds_lower [<>]= ([\d.]+)", query)]
        collections = re.findall(r"'([^']*)'", names[1])
        found = self.at(zip(targets["ra"], targets["dec"], strict=True), float(match[3] or 0), collections, span)
        columns = ("access_url", "obs_collection", "t_min", "t_max")
        rows = [[self._row(entry)[name] for name in columns] for entry in found[: self.limit]]
        return votable(rows, columns, self._status(found))

    def _status(self, found: Sequence[Entry]) -> str:
        return "OVERFLOW" if len(found) > self.limit else "OK"

    def _row(self, entry: Entry) -> dict[str, Any]:
        aws = {"bucket_name": entry.bucket, "key": entry.path, "region": "us-east-1"}
        return {
            "access_url": f"{self.uri}/{TREE}/{entry.path}" if entry.uri is None else entry.uri,
            "cloud_access": json.dumps({"aws": aws}) if entry.bucket else "",
            "obs_collection": entry.collection,
            "facility_name": "SPHEREx",
            "s_region": f"POLYGON ICRS {entry.ra} {entry.dec} {entry.ra + 2} {entry.dec} {entry.ra} {entry.dec + 2}",
            "t_min": entry.begin,
            "t_max": None if entry.begin is None else entry.begin + _EXPOSURE,
            "access_estsize": 71638,
        }

    def sesame(self, name: str) -> bytes:
        """Answer a question for a name, as Sesame does in plain text."""
        lines = [f"# {name}\t#Q8371913"]
        if name in self.names:
            ra, dec, *motion = self.names[name]
            lines += ["#=Sc=Simbad (CDS, via client/server):    1     0ms", f"%J {ra:.8f} {dec:+.8f} = ..."]
            if motion:
                lines.append("%P {} {} [0.032 0.036 0] A 2020yCat.1350....0G".format(*motion))
        else:
            lines += ["#!Simbad (CDS, via client/server): Nothing found", "#! *** Nothing found ***"]
        return "\n".join([*lines, "#====Done (2026-Sep-28,05:15:40z)====", ""]).encode()

    def part_of(self, path: str, wanted: str | None) -> tuple[int, bytes, str]:
        """Return status, content and range of a file."""
        file = self.root / path
        if not file.is_file():
            return 404, b"", ""
        content = file.read_bytes()
        if not wanted:
            return 200, content, ""
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
        return 206, content[begin : end + 1], f"bytes {begin}-{end}/{len(content)}"


def vector_of(ra: float, dec: float) -> np.ndarray:
    """Return the unit vector of a position (deg)."""
    a, d = np.radians([ra, dec])
    return np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def votable(rows: Sequence[Sequence[Any]], names: Sequence[str], status: str) -> bytes:
    """Return a VOTable; OVERFLOW is after its rows, as DALI requires."""
    numbers = {"t_min": np.float64, "t_max": np.float64, "access_estsize": np.int64}
    columns = [[row[number] for row in rows] for number in range(len(names))]
    table = Table()
    for name, values in zip(names, columns, strict=True):
        is_empty = [value in ("", None) for value in values]
        if name in numbers:
            values = [0 if empty else value for value, empty in zip(values, is_empty, strict=True)]
        table[name] = MaskedColumn(values, mask=is_empty, dtype=numbers.get(name, str))
    stream = io.BytesIO()
    from_table(table).to_xml(stream)
    text = stream.getvalue().decode()
    ok, overflow = (f'<INFO name="QUERY_STATUS" value="{value}"/>' for value in ("OK", "OVERFLOW"))
    text = text.replace("<TABLE", f"{ok}<TABLE", 1).replace("</TABLE>", "</TABLE>" + overflow * (status == "OVERFLOW"))
    text, number = re.subn(r'(<FIELD ID="s_region" arraysize=")\d+(?=")', r"\g<1>54x*", text)
    assert number == ("s_region" in names)
    return text.encode()


def error(text: str) -> bytes:
    """Return the answer of the archive to a query with an error."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n'
        '  <RESOURCE type="results">\n'
        f'    <INFO name="QUERY_STATUS" value="ERROR">{text}</INFO>\n'
        "  </RESOURCE>\n</VOTABLE>\n"
    ).encode()


def parts_of(content_type: str, body: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the fields and the files of a form."""
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + body
    )
    fields, files = {}, {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if part.get_filename() is None:
            fields[name] = content.decode()
        else:
            files[name] = content
    return fields, files


@contextlib.contextmanager
def serving_archive(archive: Archive) -> Iterator[Archive]:
    """Serve an archive; its ``uri`` is set."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802
            parts = urllib.parse.urlsplit(self.path)
            query = urllib.parse.parse_qs(parts.query)
            if parts.path == "/SIA":
                archive.requests.append(dict(query))
                self._answer_query(lambda: archive.sia(query))
            elif parts.path.startswith("/sesame/"):
                self._send(200, archive.sesame(urllib.parse.unquote(parts.query)))
            else:
                self._send(*archive.part_of(parts.path.lstrip("/"), self.headers.get("Range")))

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fields, files = parts_of(self.headers["Content-Type"], body)
            archive.requests.append(fields)
            self._answer_query(lambda: archive.tap(fields, files))

        def _answer_query(self, answer: Any) -> None:
            if archive.busy:
                archive.busy -= 1
                self._send(503, b"busy")
            elif archive.answer is not None:
                self._send(*archive.answer)
            else:
                self._send(200, answer())

        def _send(self, status: int, content: bytes, part: str = "") -> None:
            self.send_response(status)
            self.send_header("Accept-Ranges", "bytes")
            if part:
                self.send_header("Content-Range", part)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    with serving(Handler) as uri:
        archive.uri = uri
        yield archive
