"""How a product is written: compression of its planes and checksums."""

from __future__ import annotations

__all__ = ["Compression", "WriteRecipe", "parse_recipes"]

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

_LOSSLESS_FOR_FLOATS = ("GZIP_1", "GZIP_2")


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Compression(_Strict):
    """Tile compression of one plane (FITS standard 4.0, section 10)."""

    algorithm: Literal["GZIP_1", "GZIP_2", "RICE_1"]
    """Name of the algorithm as in ZCMPTYPE."""

    tile: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = None
    """Rows and columns of a tile; a whole row if it is not given. Square tiles
    let a cutout be read without its whole rows.
    """

    quantize_level: pydantic.PositiveFloat | None = None
    """Steps per standard deviation of the noise that floating point pixels
    are rounded to (with subtractive dithering, NaN kept). Loses information.
    """


class WriteRecipe(_Strict):
    """How one product is written. Planes without an entry are written plain."""

    image: Compression | None = None
    flags: Compression | None = None
    variance: Compression | None = None

    checksum: bool = False
    """Whether every HDU gets CHECKSUM and DATASUM cards."""

    lossy: bool = False
    """Must be set for a recipe that loses information, so that none does by
    mistake.
    """

    @pydantic.model_validator(mode="after")
    def _loses_only_by_choice(self) -> WriteRecipe:
        for name in ("image", "variance"):
            plane: Compression | None = getattr(self, name)
            if plane is None:
                continue
            if plane.algorithm not in _LOSSLESS_FOR_FLOATS and plane.quantize_level is None:
                raise ValueError(
                    f"{name}: {plane.algorithm} compresses integers; floating point pixels need GZIP_1, GZIP_2 "
                    "or a quantize_level"
                )
            if plane.quantize_level is not None and not self.lossy:
                raise ValueError(f"{name}: quantize_level loses information; say 'lossy: true' if that is wanted")
        if self.flags is not None and self.flags.quantize_level is not None:
            raise ValueError("flags: a quantize_level would destroy flags")
        return self


def parse_recipes(recipes: Mapping[str, Any]) -> dict[str, WriteRecipe]:
    """Check the recipes of a configuration.

    Parameters
    ----------
    recipes
        Content of a ``write_recipes`` section, by recipe name.

    Raises
    ------
    RuntimeError
        If one is wrong, with its name and what is wrong.
    """
    parsed = {}
    for name, content in recipes.items():
        try:
            parsed[name] = WriteRecipe.model_validate(dict(content or {}))
        except pydantic.ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, one['loc'])) or name}: {one['msg']}" for one in error.errors())
            raise RuntimeError(f"The write recipe {name!r} is wrong: {reasons}") from None
    return parsed
