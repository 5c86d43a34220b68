"""Which flags make a pixel unusable: the choices that were published."""

from __future__ import annotations

__all__ = ["BAD_PIXEL_PRESETS", "DEFAULT_PRESET", "BadPixelPreset", "bad_flags", "takes_all_but_some"]

import dataclasses
from collections.abc import Collection, Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class BadPixelPreset:
    """A published choice of flags.

    Parameters
    ----------
    source
        Who uses it.
    names
        The flags; `None` for all that an image has.
    kept
        Flags that do not make a pixel bad.
    """

    source: str
    names: frozenset[str] | None = None
    kept: frozenset[str] = frozenset()

    def of(self, known: Iterable[str]) -> set[str]:
        """Return those flags of an image that the choice has."""
        wanted = set(known) if self.names is None else self.names.intersection(known)
        return set(wanted - self.kept)


_HELPDESK = frozenset({"SUR_ERROR", "NONFUNC", "MISSING_DATA", "HOT", "COLD", "NONLINEAR", "PERSIST"})

BAD_PIXEL_PRESETS: Mapping[str, BadPixelPreset] = {
    "cube": BadPixelPreset(
        "SPHEREx Explanatory Supplement, section 3.4.3, table 16, and IRSA's Mosaic Tool",
        kept=frozenset({"OVERFLOW", "FULLSAMPLE", "OUTLIER", "SOURCE"}),
    ),
    "fit": BadPixelPreset("IRSA helpdesk, for fits of point sources (as in SPIFF, spherextract, cutoutdb)", _HELPDESK),
    "background": BadPixelPreset(
        "IRSA helpdesk, for the background of fits (as in SPIFF)",
        _HELPDESK | {"OVERFLOW", "SOURCE", "OUTLIER", "TRANSIENT"},
    ),
    "tractor": BadPixelPreset(
        "tractorjax-spherex",
        frozenset({"SUR_ERROR", "PHANMISS", "NONFUNC", "MISSING_DATA", "HOT", "COLD", "PERSIST", "OUTLIER"}),
    ),
    "spxquery": BadPixelPreset(
        "spxquery and sx_phot",
        frozenset({"TRANSIENT", "OVERFLOW", "SUR_ERROR", "NONFUNC", "DICHROIC"})
        | {"MISSING_DATA", "HOT", "COLD", "NONLINEAR"},
    ),
    "discovery": BadPixelPreset(
        "IRSA's tutorial on the discovery of sources",
        frozenset({"TRANSIENT", "OVERFLOW", "SUR_ERROR", "PHANTOM", "REFERENCE", "NONFUNC", "DICHROIC"})
        | {"MISSING_DATA", "HOT", "COLD", "FULLSAMPLE", "PHANMISS", "NONLINEAR", "PERSIST", "OUTLIER"},
    ),
}
"""Choices of flags by name. Only ``background`` takes pixels with sources for
bad ones: SOURCE is set on 40 to 99 % of the pixels.
"""

DEFAULT_PRESET = "cube"
"""The choice of the mission itself."""


def bad_flags(names: str | Iterable[str], known: Collection[str]) -> set[str]:
    """Return the flags that make a pixel of an image bad.

    Parameters
    ----------
    names
        Name of a preset, name of a flag, or several names of flags.
    known
        Flags that the image has.

    Raises
    ------
    KeyError
        If a flag is named that the image does not have.
    ValueError
        If the image has none of the flags of a preset.
    """
    if isinstance(names, str):
        if names in BAD_PIXEL_PRESETS:
            chosen = BAD_PIXEL_PRESETS[names].of(known)
            if not chosen:
                raise ValueError(
                    f"The image names none of the flags of the preset {names!r}; it names "
                    f"{', '.join(known) or 'none'}. Name flags yourself, or give the image a flag table."
                )
            return chosen
        names = (names,)
    wanted = set(names)
    if unknown := wanted.difference(known):
        raise KeyError(
            f"No flag {', '.join(sorted(unknown))} in this image; it has {', '.join(known) or 'none'}. "
            f"Presets are {', '.join(BAD_PIXEL_PRESETS)}."
        )
    return wanted


def takes_all_but_some(name: str) -> bool:
    """Return whether this is the name of a preset of all flags but a few."""
    return name in BAD_PIXEL_PRESETS and BAD_PIXEL_PRESETS[name].names is None
