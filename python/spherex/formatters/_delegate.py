"""Components and parameters of images that are already in memory."""

from __future__ import annotations

__all__ = ["SPHERExImageDelegate"]

from collections.abc import Mapping
from typing import Any

from lsst.daf.butler import StorageClassDelegate

_WITH_UNIT = {"image": 1, "zodi": 1, "variance": 2}
"""Components that are pixels, and the power of the image's unit that they are in."""

_ATTRIBUTES = {
    "image": "data",
    "flags": "flag_plane",
    **{name: name for name in ("variance", "zodi", "wcs", "header", "psf", "wavelength", "bbox", "calibrations")},
}


class SPHERExImageDelegate(StorageClassDelegate):
    """Does for images in memory what the formatter does for files."""

    def getComponent(self, composite: Any, componentName: str) -> Any:  # noqa: N802, N803
        """Return a component; see `lsst.daf.butler.StorageClassDelegate`.

        Raises
        ------
        AttributeError
            If there is no such component.
        ValueError
            If the image lacks it.
        """
        from astropy.units import Quantity

        if componentName not in _ATTRIBUTES:
            raise AttributeError(f"A SPHERExImage has no component {componentName!r}.")
        component = getattr(composite, _ATTRIBUTES[componentName])
        if component is None:
            raise ValueError(f"This SPHERExImage has no {componentName}.")
        if power := _WITH_UNIT.get(componentName):
            return Quantity(component, composite.unit**power, copy=False, dtype=None)
        return component

    def handleParameters(self, inMemoryDataset: Any, parameters: Mapping[str, Any] | None = None) -> Any:  # noqa: N802, N803
        """Apply the parameters of the storage class; see `lsst.daf.butler.StorageClassDelegate`."""
        from ..image import SPHERExImage

        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        planes = given.pop("planes", None)
        if unknown := given.keys() - {"box", "position", "size", "mode"}:
            raise ValueError(f"A SPHERExImage is not read with {', '.join(sorted(unknown))}.")
        image = inMemoryDataset
        if planes is not None:
            image = SPHERExImage(image, planes={name: image.planes[name] for name in planes})
        return image.cutout(**given) if given else image
