"""Translator of the calibration products of the public archive, which certifies them."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from lsst.daf.butler import CollectionType, MissingCollectionError, Timespan

from spherex.archive import (
    CALIBRATION_KINDS,
    CalibrationContent,
    CalibrationHDU,
    CalibrationName,
    Level2Name,
    age_of_run,
    kind_of,
)
from spherex.calibrations import CertifyTrial, certify_newest, gaps_of, newest_last, range_text
from spherex.detectors import DETECTOR_IDS
from spherex.errors import ArchiveNameError, DescriptionError, FileNameError, IngestError, ProductError
from spherex.file_names import check_directory_name
from spherex.fits import MemorySource, open_source, scan_hdus
from spherex.headers import detector_of, text_of
from spherex.instrument import SPHEREx
from spherex.yamls import load_yaml

from .descriptions import (
    DatasetKey,
    DatasetKind,
    FileDescription,
    FileKey,
    FileStructure,
    FileTranslator,
)
from .locations import name_of

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

    from spherex.fits import ByteSource

FILE_REGEX = r"^(?!level2_).*_spx_.*\.(fits|yaml)$"
"""Regular expression for the names of files in directories: products of the
archive except images.
"""

_STORAGE_CLASSES = {
    CalibrationContent.IMAGE: "CCDData",
    CalibrationContent.PARAMETERS: "AstropyHDUList",
    CalibrationContent.YAML: "StructuredDataDict",
}
_FORM = "<type>_D<detector>_spx_<run>.fits, as in spectral_wcs_D4_spx_cal-wcs-v4-2025-254.fits"
_NUMBER = re.compile(r"_D(\d+)_spx_")
_YAML_EXTENSION = ".yaml"
_PIECE = 2**22
"""Bytes that are read at a time for the digest."""
_ISSUE_CARDS = ("VERSION", "DATE")


def read_calibration(uri: str) -> FileStructure:
    """Read the headers of a FITS file, or a YAML file, and the SHA-256 of all bytes.

    Parameters
    ----------
    uri
        URI or local path. A remote file is read once, into memory.

    Returns
    -------
    FileStructure
        The structure, without HDUs for YAML.

    Raises
    ------
    ProductError
        Raised if a FITS file is damaged.
    DescriptionError
        Raised if a YAML file is not a mapping.
    OSError
        Raised if it cannot be read.
    """
    digest = hashlib.sha256()
    with open_source(uri) as file:
        source: ByteSource = file
        if not file.is_local:
            source = MemorySource(file.read_at(0, -1) if file.size is None else bytes(file.read_exactly(0, file.size)))
        size, offset = source.size or 0, 0
        hdus = []
        if name_of(uri).endswith(_YAML_EXTENSION):
            _check_mapping(source.read_at(0, size))
        else:
            hdus = scan_hdus(source)
        while piece := source.read_at(offset, _PIECE):
            digest.update(piece)
            offset += len(piece)
    return FileStructure(uri, size, hdus, digest.hexdigest())


def _check_mapping(content: bytes) -> None:
    try:
        value = load_yaml(content)
    except ProductError as error:
        raise DescriptionError(f"{error}; replace the file with an intact copy") from None
    if not isinstance(value, dict):
        raise DescriptionError("not a YAML mapping, or empty; replace the file with an intact copy")


class CalibrationTranslator(FileTranslator):
    """Translator of calibration products.

    In each transaction the new datasets are certified. Existing ones are
    certified only in a range that the user gives: else a repetition of the
    command would undo a decertification.

    Parameters
    ----------
    collection
        Name of the CALIBRATION collection, and prefix of those of the runs.
    prefix
        Prefix of the names of dataset types.
    ids
        UUIDs of datasets by the names of their files.
    timespan
        Validity that the user gives; None for no limits.
    """

    instrument = SPHEREx
    type_option = "--dataset-type-prefix"
    has_many_types = True
    fields = SPHEREx.record_fields

    def __init__(
        self,
        collection: str,
        prefix: str = "",
        ids: Mapping[str, uuid.UUID] | None = None,
        timespan: Timespan | None = None,
    ) -> None:
        self._collection = collection
        self._prefix = prefix
        self._ids = dict(ids or {})
        self._timespan = timespan or Timespan(None, None)
        self._is_given = timespan is not None
        self._trial: CertifyTrial | None = None
        self.identified: set[str] = set()
        """Names of files whose ids were used."""

    def read(self, uri: str) -> FileStructure:
        """Read a FITS or YAML file; see `FileTranslator`."""
        return read_calibration(uri)

    def content_of(self, structure: FileStructure) -> str:
        """Return the SHA-256 of the file; see `FileTranslator`."""
        return structure.digest

    def issue_of(self, structure: FileStructure) -> dict[str, str]:
        """Return dates and versions of the headers, and the digest; see `FileTranslator`."""
        issue = {}
        for name in _ISSUE_CARDS:
            texts = (text_of(hdu.cards, name) for hdu in structure.hdus)
            if (text := next(filter(None, texts), None)) is not None:
                issue[name] = text
        return {**issue, "size": f"{structure.size} bytes", "SHA-256": structure.digest}

    def age_of(self, collection: str) -> Any:
        """Return a key that sorts processing runs; see `FileTranslator`."""
        return age_of_run(collection, self._collection)

    def identify(self, uri: str) -> FileKey:
        """Return dataset type, detector and run of a file by its name; see `FileTranslator`."""
        name = name_of(uri)
        try:
            parsed = CalibrationName.parse(name)
        except ArchiveNameError:
            _refuse_name(name)
        try:
            known = kind_of(parsed.type, parsed.extension)
        except ArchiveNameError as error:
            raise DescriptionError(f"{error}; correct its name, or leave it out with --regex") from None
        detectors = () if parsed.detector is None else (parsed.detector,)
        if known.is_per_detector and not detectors:
            raise DescriptionError(
                f"each {parsed.type} of the archive is for one detector, but its name lacks _D<detector>, as in "
                f"{dataclasses.replace(parsed, detector=1)}; rename it"
            )
        kind = DatasetKind(
            self._prefix + parsed.type,
            ("instrument", "detector") if detectors else ("instrument",),
            _STORAGE_CLASSES[known.content],
            is_calibration=True,
        )
        id_ = self._ids.get(name)
        if id_ is not None:
            self.identified.add(name)
        dataset = DatasetKey(kind, f"{self._collection}/{parsed.run}", (self.instrument.name, *detectors), id_)
        return FileKey((parsed.type, parsed.detector or 0, parsed.run.age_key), 0, dataset)

    def describe(self, key: FileKey, structure: FileStructure) -> FileDescription:
        """Check the headers against the name; see `FileTranslator`."""
        type_, expected, _ = key.group
        if type_ in CALIBRATION_KINDS:
            for needed in CALIBRATION_KINDS[type_].hdus:
                _check_hdu(structure, needed)
        # A file for all detectors has no detector to compare with.
        for hdu in structure.hdus if expected else ():
            try:
                detector = detector_of(hdu.cards, DETECTOR_IDS)
            except ValueError as error:
                raise DescriptionError(f"{error}; fix the header or leave the file out") from None
            if detector is not None and detector != expected:
                raise DescriptionError(
                    f"DETECTOR in the header is {detector}, but the file name has {expected}; "
                    "rename the file, fix the header or leave it out"
                )
        return FileDescription(key.dataset)

    def start(self, butler: Butler, dry_run: bool) -> None:
        """Register the CALIBRATION collection; see `FileTranslator`."""
        try:
            # Names of runs begin with it.
            check_directory_name(self._collection, slashes=True)
        except FileNameError as error:
            raise IngestError(f"{self._collection!r} is not a valid --collection: it {error}.") from None
        try:
            type_ = butler.collections.get_info(self._collection).type
        except MissingCollectionError:
            type_ = CollectionType.CALIBRATION
        if type_ is not CollectionType.CALIBRATION:
            raise IngestError(
                f"Collection {self._collection!r} of the repository is not of type CALIBRATION: choose another "
                "--collection."
            )
        if dry_run:
            # It remembers what the batches before would have certified.
            self._trial = CertifyTrial(butler, self._collection, self._timespan, self.age_of)
        else:
            butler.collections.register(self._collection, CollectionType.CALIBRATION)

    def finish_batch(
        self, butler: Butler, new: Sequence[DatasetRef], existing: Sequence[DatasetRef], dry_run: bool
    ) -> list[str]:
        """Certify datasets; see `FileTranslator`."""
        # The newest of a data ID replaces an older one at once.
        newest = {(ref.datasetType.name, ref.dataId): ref.id for ref in newest_last([*new, *existing], self.age_of)}
        latest = [ref for ref in existing if newest[ref.datasetType.name, ref.dataId] == ref.id]
        refs = [*new, *existing] if self._is_given else new
        # New datasets may fill gaps; existing ones fill them only in a given range.
        lines: list[tuple[DatasetRef, str]] = []
        if self._is_given:
            verb = "would become" if dry_run else "becomes"
            for ref in latest:
                for gap in self._gaps(butler, ref):
                    lines.append((ref, f", already there, {verb} valid {range_text(gap)}"))
        if self._trial is not None:
            changes = self._trial.certify(refs)
        else:
            changes = certify_newest(butler, self._collection, refs, self._timespan, self.age_of)
        if not self._is_given:
            verb = "would stay" if dry_run else "stays"
            for ref in latest:
                for gap in self._gaps(butler, ref):
                    lines.append(
                        (
                            ref,
                            f", already there, {verb} out {range_text(gap)}, where nothing is valid; "
                            "use --begin-date or --end-date to certify it",
                        )
                    )
        for change in changes:
            verb = "replace" if change.is_replaced else "leave"
            verb = f"would {verb}" if dry_run else f"{verb}s"
            lines.append((change.ref, f" {verb} {change.existing.run} {range_text(change.timespan)}"))
        return _merged(lines)

    def _gaps(self, butler: Butler, ref: DatasetRef) -> list[Timespan]:
        """Return where nothing is valid for the data ID of a dataset."""
        if self._trial is not None:
            return self._trial.gaps(ref)
        return gaps_of(butler, self._collection, ref, self._timespan)


def _check_hdu(structure: FileStructure, needed: CalibrationHDU) -> None:
    """Check that a file has an HDU of the needed name and shape."""
    sort = "table" if needed.shape is None else "image"
    for hdu in structure.hdus:
        is_sort = hdu.kind == "table" if needed.shape is None else bool(hdu.image_shape)
        if is_sort and needed.name in (None, hdu.name):
            break
    else:
        name = f" {needed.name}" if needed.name else ""
        raise DescriptionError(f"no {sort}{name} in the file; replace it with an intact copy")
    if needed.shape is not None and hdu.image_shape != needed.shape:
        found, expected = (" x ".join(map(str, reversed(shape))) for shape in (hdu.image_shape, needed.shape))
        raise DescriptionError(
            f"its image {hdu.name or hdu.index} has {found} pixels, not {expected}; replace the file with an intact "
            "copy"
        )


def _refuse_name(name: str) -> NoReturn:
    """Raise an error that explains why a name is not that of a calibration."""
    try:
        Level2Name.parse(name)
    except ArchiveNameError:
        detector = _NUMBER.search(name)
        if detector is not None and int(detector[1]) not in DETECTOR_IDS:
            raise DescriptionError(
                f"there is no detector {detector[1]}, only 1 to 6; rename it, or leave it out with --regex"
            ) from None
        raise DescriptionError(f"its name is not {_FORM}; rename it, or leave it out with --regex") from None
    raise DescriptionError("it is a Level 2 image; use butler ingest-level2")


def _merged(lines: list[tuple[DatasetRef, str]]) -> list[str]:
    """Return one line for all detectors of which the same is to be reported."""
    detectors: dict[tuple[str, str, str], list[str]] = {}
    for ref, text in lines:
        of_line = detectors.setdefault((ref.datasetType.name, ref.run, text), [])
        if (detector := ref.dataId.get("detector")) is not None:
            of_line.append(str(detector))
    merged = []
    for (type_, run, text), numbers in detectors.items():
        of_detectors = f", detector{'s' * (len(numbers) > 1)} {', '.join(numbers)}" if numbers else ""
        merged.append(f"{type_}{of_detectors}: {run}{text}")
    return merged
