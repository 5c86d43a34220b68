"""What the formatters of this package share: errors of remote files, and the removal of earlier provenance.

It is a module of its own, because the modules of the formatters import it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from lsst.daf.butler import FormatterV2

from spherex.remote import access_explained


class ExplainedFormatter(FormatterV2):
    """Formatter whose errors name the remedy where a bucket needs credentials, and contain no passwords.

    It comes before a formatter of the Butler in a list of base classes.
    """

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read a dataset; see `lsst.daf.butler.FormatterV2`.

        The Butler asks subclasses not to override this method, so as to keep
        the order of the ways to read. That order stays here. Each way opens or
        downloads the file by itself, before a formatter is asked for the
        content.

        Raises
        ------
        spherex.errors.RemoteError
            If the bucket of the file needs credentials, and there are none.
        """
        with access_explained():
            return super().read(*args, **kwargs)


def strip_provenance(metadata: MutableMapping[Any, Any]) -> bool:
    """Remove the Butler's provenance of earlier datasets; return whether there was any.

    `lsst.daf.butler.DatasetProvenance.strip_provenance_from_flat_dict` raises
    if the keys have two styles, as in the metadata of a table with the header
    of an image.

    Parameters
    ----------
    metadata
        Header, or metadata of a table. It is changed.
    """
    from spherex.fits import PROVENANCE_STARTS

    # A header lists a keyword for each of its cards, and deletes all of them at once.
    keys = {key for key in metadata if isinstance(key, str) and key.upper().startswith(PROVENANCE_STARTS)}
    for key in keys:
        del metadata[key]
    return bool(keys)
