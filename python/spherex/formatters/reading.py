"""Base class of all formatters of this package: errors of remote files are explained in one place.

It is a module of its own, because the modules of the formatters import it.
"""

from __future__ import annotations

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
