"""Components and parameters of images that are already in memory."""

from __future__ import annotations

__all__ = ["BoxDelegate", "SPHERExImageDelegate"]

from collections.abc import Mapping
from typing import Any

from lsst.daf.butler import StorageClassDelegate


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

        match componentName:
            case "image":
                return Quantity(composite.data, composite.unit, copy=False, dtype=None)
            case "variance" if composite.variance is not None:
                return Quantity(composite.variance, composite.unit**2, copy=False, dtype=None)
            case "flags" if composite.flags is not None:
                return composite.flag_plane
            case "wcs" if composite.wcs is not None:
                return composite.wcs
            case "header":
                return composite.header
            case "variance" | "flags" | "wcs":
                raise ValueError(f"This SPHERExImage has no {componentName}.")
        raise AttributeError(f"A SPHERExImage has no component {componentName!r}.")

    def handleParameters(self, inMemoryDataset: Any, parameters: Mapping[str, Any] | None = None) -> Any:  # noqa: N802, N803
        """Apply the parameters of the storage class; see `lsst.daf.butler.StorageClassDelegate`."""
        from ..image import Box, SPHERExImage

        given = dict(parameters or {})
        box, planes = given.pop("box", None), given.pop("planes", None)
        if given:
            raise ValueError(f"A SPHERExImage is not read with {', '.join(given)}, only with box and planes.")
        image = inMemoryDataset
        if planes is not None:
            image = SPHERExImage(image, planes={name: image.planes[name] for name in planes})
        return image if box is None else image.cutout(Box.parse(box))


class BoxDelegate(StorageClassDelegate):
    """Cuts components that are in memory."""

    def handleParameters(self, inMemoryDataset: Any, parameters: Mapping[str, Any] | None = None) -> Any:  # noqa: N802, N803
        """Apply the parameters of the storage class; see `lsst.daf.butler.StorageClassDelegate`."""
        from astropy.io import fits

        from ..image import Box, FlagPlane, shift_header

        given = dict(parameters or {})
        wanted = given.pop("box", None)
        if given:
            raise ValueError(f"A component is not read with {', '.join(given)}, only with box.")
        component = inMemoryDataset
        if wanted is None:
            return component
        box = Box.parse(wanted)
        if isinstance(component, FlagPlane):
            return component.cutout(box)
        if isinstance(component, fits.Header):
            header = component.copy()
            shift_header(header, box.clipped((header.get("NAXIS2", box.y1), header.get("NAXIS1", box.x1))))
            return header
        # Pixels have a shape, a WCS that of its image.
        shape: Any = getattr(component, "array_shape", None) or getattr(component, "shape", (box.y1, box.x1))
        return component[box.clipped(shape).slices]
