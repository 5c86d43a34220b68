"""Public buckets: requests to S3 without an account.

`lsst.resources` makes one S3 client for each service and signs all requests.
The archive's bucket (nasa-irsa-spherex) answers anybody. As for GDAL and
others, the environment variable AWS_NO_SIGN_REQUEST asks for requests without
a signature. botocore does not read it, but has hooks for it.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

from spherex.errors import RemoteError, first_line, is_without_credentials, without_secrets

_VARIABLE = "AWS_NO_SIGN_REQUEST"
_YES = frozenset({"1", "on", "t", "true", "y", "yes"})


def is_unsigned() -> bool:
    """Return whether the environment asks for S3 requests without a signature."""
    return os.environ.get(_VARIABLE, "").strip().lower() in _YES


def obey_no_sign_request() -> None:
    """Let S3 requests of this process go unsigned, if the environment asks for that.

    The commands call this, and all readers before they open a file, because in
    the processes of a pipeline nothing else of this package may run. Clients
    that exist already are not changed. Without the variable, nothing happens.
    """
    if is_unsigned():
        _register()


def go_unsigned_without_credentials() -> bool:
    """Let S3 requests of this process go unsigned if there are no credentials to sign them with.

    For commands that find files of the archive's bucket themselves. What the
    user says by AWS_NO_SIGN_REQUEST counts first.

    Returns
    -------
    is_unsigned
        Whether requests go unsigned although the user did not ask for it.
    """
    if os.environ.get(_VARIABLE, "").strip():
        return False
    import botocore.session

    if botocore.session.get_session().get_credentials() is not None:
        return False
    os.environ[_VARIABLE] = "YES"
    obey_no_sign_request()
    return True


@contextlib.contextmanager
def access_explained() -> Iterator[None]:
    """Say what to do when S3 requests cannot be signed, and keep passwords out of other errors.

    Raises
    ------
    RemoteError
        In place of the error of botocore, if there are no credentials.
    """
    obey_no_sign_request()
    try:
        yield
    except Exception as error:
        if is_without_credentials(error):
            raise RemoteError(first_line(error)) from error
        # The libraries repeat URIs with their passwords.
        error.args = tuple(without_secrets(part) if isinstance(part, str) else part for part in error.args)
        raise


@functools.cache
def _register() -> None:
    import botocore

    botocore.register_initializer(_initialize)


def _initialize(session: Any) -> None:
    """Make the clients of a new botocore session unsigned."""
    import botocore
    from botocore.config import Config

    # An unsigned client does not look for credentials either, so that nothing
    # waits for the metadata service of a cloud.
    if is_unsigned():
        session.set_default_client_config(Config(signature_version=botocore.UNSIGNED))
