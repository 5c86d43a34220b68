"""Formatter of SPHEREx images in files, and delegate for those in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lsst.daf.butler import DatasetProvenance, StorageClassDelegate

from .reading import ExplainedFormatter

# spherex.image and spherex.fits load astropy.nddata. They are imported when a
# file is read or written, because ingest needs this class alone.
if TYPE_CHECKING:
    from lsst.resources import ResourcePath

    from spherex.image import SPHERExImage


_MOST_INPUTS_IN_HEADER = 3000


class SPHERExImageFormatter(ExplainedFormatter):
    """Formatter of `spherex.image.SPHERExImage` as FITS.

    The components are `spherex.image.COMPONENTS`. The parameters are those of
    `spherex.image.Cutout` (``box``, or ``position`` and ``size``, and
    ``mode``) and, for a whole image, ``planes``, the names of the further
    planes to read. Only the HDUs and rows that are needed are read, from
    remote files too. The write parameter ``recipe`` is the name of a write
    recipe of the configuration.
    """

    __module__ = "spherex.formatters"  # Repositories record the class by this name.

    default_extension: ClassVar[str | None] = ".fits"
    supported_extensions: ClassVar[frozenset[str]] = frozenset({".fits", ".fits.fz", ".fit", ".FITS"})
    supported_write_parameters: ClassVar[frozenset[str] | None] = frozenset({"recipe"})
    can_read_from_uri: ClassVar[bool] = True
    _provenance: Mapping[str, Any] | None = None

    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the image or a component; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        spherex.fits.ProductError
            If the file is damaged or does not contain the component.
        spherex.errors.RemoteError
            If its bucket needs credentials, and there are none.
        ValueError
            If the parameters are wrong, or no pixel of the cut is in the image.
        """
        from spherex.fits import open_product
        from spherex.image import Cutout

        given = self.file_descriptor.parameters or {}
        parameters = {name: value for name, value in given.items() if value is not None}
        if component is None and not parameters and not uri.isLocal:
            # The whole file is read: the Butler downloads it and caches it.
            return NotImplemented
        planes = parameters.pop("planes", None)
        cut = Cutout.of(**parameters) if parameters else None
        with open_product(uri) as product:
            if component is None:
                return product.read(cut, planes)
            return product.component(component, cut)

    def add_provenance(
        self, in_memory_dataset: SPHERExImage, /, *, provenance: DatasetProvenance | None = None
    ) -> SPHERExImage:
        """Keep the provenance of the dataset for the header that will be written.

        Its cards begin with ``HIERARCH LSST BUTLER``, as in lsst.images. Such
        cards of an earlier dataset are not written.
        """
        from spherex.fits import PROVENANCE_PREFIX

        # A formatter writes one dataset. The image is not changed.
        self._provenance = (provenance or DatasetProvenance()).to_flat_dict(
            self.dataset_ref,
            prefix=PROVENANCE_PREFIX,
            sep=" ",
            simple_types=True,
            max_inputs=_MOST_INPUTS_IN_HEADER,
        )
        return in_memory_dataset

    def write_local_file(self, in_memory_dataset: SPHERExImage, uri: ResourcePath) -> None:
        """Write the image; see `lsst.daf.butler.FormatterV2`.

        Raises
        ------
        RuntimeError
            If the configuration has no recipe of that name.
        """
        from spherex.fits import WriteRecipe, write_product

        name = self.write_parameters.get("recipe", "default")
        recipes: Mapping[str, Any] = {"default": WriteRecipe()} | dict(self.write_recipes)
        if name not in recipes:
            raise RuntimeError(f"The configuration has no write recipe {name!r}; it has {', '.join(recipes)}.")
        write_product(in_memory_dataset, uri.ospath, recipes[name], overwrite=True, provenance=self._provenance)

    @classmethod
    def validate_write_recipes(cls, recipes: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Check the write recipes of the configuration.

        Raises
        ------
        RuntimeError
            If a recipe is wrong.
        """
        from spherex.fits import parse_recipes

        return parse_recipes(recipes or {})


class SPHERExImageDelegate(StorageClassDelegate):
    """Components and parameters of images in memory, as the formatter has them for files."""

    __module__ = "spherex.formatters"  # Repositories record the class by this name.

    def getComponent(self, composite: Any, componentName: str) -> Any:  # noqa: N802, N803
        """Return a component; see `lsst.daf.butler.StorageClassDelegate`.

        Raises
        ------
        AttributeError
            If there is no such component.
        ValueError
            If the image does not have it.
        """
        return composite.component(componentName)

    def handleParameters(self, inMemoryDataset: Any, parameters: Mapping[str, Any] | None = None) -> Any:  # noqa: N802, N803
        """Apply the parameters of the storage class; see `lsst.daf.butler.StorageClassDelegate`."""
        from spherex.image import SPHERExImage

        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        planes = given.pop("planes", None)
        if unknown := given.keys() - {"box", "position", "size", "mode"}:
            raise ValueError(f"A SPHERExImage is not read with {', '.join(sorted(unknown))}.")
        image = inMemoryDataset
        if planes is not None:
            image = SPHERExImage(image, planes={name: image.planes[name] for name in planes})
        return image.cutout(**given) if given else image
