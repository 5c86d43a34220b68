"""Calibration products of the public archive: names, contents, dataset types."""

from __future__ import annotations

import dataclasses
import functools
import re
import uuid
from collections.abc import Mapping
from typing import Any

import yaml

from spherex.archive import CALIBRATION_KINDS, CalibrationContent, CalibrationHDU, CalibrationName, Level2Name, kind_of
from spherex.detectors import DETECTOR_IDS
from spherex.errors import ArchiveNameError, DescriptionError
from spherex.fits import open_source
from spherex.instrument import SPHEREx

from .descriptions import DatasetKey, DatasetKind, FileDescription, FileKey, IngestPolicy
from .locations import name_of
from .reader import FileStructure, attempt, read_structure

FILE_REGEX = r"^(?!level2_).*_spx_.*\.(fits|yaml)$"
"""Names of files that are looked at in directories: products of the archive,
but not images.
"""

_STORAGE_CLASSES = {
    CalibrationContent.IMAGE: "CCDData",
    CalibrationContent.PARAMETERS: "AstropyHDUList",
    CalibrationContent.YAML: "StructuredDataDict",
}
_FORM = "<type>_D<detector>_spx_<run>.fits, as in spectral_wcs_D4_spx_cal-wcs-v4-2025-254.fits"
_NUMBER = re.compile(r"_D(\d+)_spx_")
_DETECTOR_CARD = "DETECTOR"
_YAML_EXTENSION = ".yaml"


def read_calibration(address: str) -> FileStructure | DescriptionError:
    """Read the headers of a FITS file, or all of a YAML file.

    Parameters
    ----------
    address
        Local path or URI.

    Returns
    -------
    FileStructure or DescriptionError
        The structure, without HDUs for YAML, or why there is none.
    """
    if not name_of(address).endswith(_YAML_EXTENSION):
        return read_structure(address)
    return attempt(functools.partial(_read_yaml, address))


def _read_yaml(address: str) -> FileStructure:
    with open_source(address) as source:
        content = source.read_at(0, -1 if source.size is None else source.size)
    try:
        value = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise DescriptionError(f"it is not YAML ({str(error).splitlines()[0]}); replace it by a good copy") from None
    if not isinstance(value, dict):
        raise DescriptionError("it is not a YAML mapping, or it is empty; replace it by a good copy")
    return FileStructure(address, len(content), [])


class CalibrationDescriber:
    """Describes calibration products.

    Parameters
    ----------
    collection
        Name of the CALIBRATION collection, with which those of the runs begin.
    prefix
        Put in front of the archive's names of dataset types.
    ids
        UUIDs of datasets by the names of their files.
    """

    instrument = SPHEREx
    policy = IngestPolicy("--dataset-type-prefix", read=read_calibration, has_given_ids=True, has_many_types=True)
    fields: Mapping[str, frozenset[str]] = SPHEREx.record_fields
    last_resorts: Mapping[str, Mapping[str, Any]] = {}

    def __init__(self, collection: str, prefix: str = "", ids: Mapping[str, uuid.UUID] | None = None) -> None:
        self._collection = collection
        self._prefix = prefix
        self._ids = dict(ids or {})
        self.identified: set[str] = set()
        """Names of files to which an id was given."""

    def identify(self, address: str, structure: FileStructure | None = None) -> FileKey:
        """Tell type, detector and run, see `Describer`."""
        name = name_of(address)
        try:
            parsed = CalibrationName.parse(name)
        except ArchiveNameError:
            raise DescriptionError(_misnamed(name)) from None
        try:
            known = kind_of(parsed.type, parsed.extension)
        except ArchiveNameError as error:
            raise DescriptionError(f"{error}; name it as what it is, or leave it out with --regex") from None
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
        """Check the headers against the name, see `Describer`."""
        assert key.dataset is not None, "identify always tells the dataset"
        type_, expected, _ = key.group
        if type_ in CALIBRATION_KINDS:
            for needed in CALIBRATION_KINDS[type_].hdus:
                _check_hdu(structure, needed)
        for hdu in structure.hdus:
            try:
                value = hdu.cards.get(_DETECTOR_CARD)
            except ValueError as error:
                raise DescriptionError(f"{error}; mend the header or leave the file out") from None
            # Some products have the number as a string.
            if value is not None and expected and str(value).strip() != str(expected):
                raise DescriptionError(
                    f"{_DETECTOR_CARD} in its header is {value!r}, but its name says {expected}; "
                    "rename the file, mend the header or leave it out"
                )
        return FileDescription(key.dataset)


def _check_hdu(structure: FileStructure, needed: CalibrationHDU) -> None:
    """Refuse a file without an HDU, or with one of another shape."""
    sort = "table" if needed.shape is None else "image"
    hdu = next(
        (
            one
            for one in structure.hdus
            if needed.name in (None, one.name) and (one.kind == "table" if needed.shape is None else one.image_shape)
        ),
        None,
    )
    if hdu is None:
        raise DescriptionError(
            f"it holds no {sort}{f' {needed.name}' if needed.name else ''}; replace it by a good copy"
        )
    if needed.shape is not None and hdu.image_shape != needed.shape:
        found, expected = (" x ".join(map(str, reversed(shape))) for shape in (hdu.image_shape, needed.shape))
        raise DescriptionError(
            f"its image {hdu.name or hdu.index} has {found} pixels, not {expected}; replace it by a good copy"
        )


def _misnamed(name: str) -> str:
    try:
        Level2Name.parse(name)
    except ArchiveNameError:
        detector = _NUMBER.search(name)
        if detector is not None and int(detector[1]) not in DETECTOR_IDS:
            return f"there is no detector {detector[1]}, only 1 to 6; rename it, or leave it out with --regex"
        return f"its name is not {_FORM}; rename it, or leave it out with --regex"
    return "it is a Level 2 image; use butler ingest-level2"
