"""Platforms' own clients: imported when something is sent, and their errors told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spark_nas.errors import UsageError


@contextmanager
def client_of(platform: str, package: str, extra: str) -> Iterator[None]:
    """Inside, `package` is imported and used. Raises UsageError where it is missing, or whatever it complains of.

    Every client has its own family of errors - a refused request, no credentials, no such host - and some have none in
    common; to whoever submits they are all one thing: it was not sent, and this is why.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{platform}: sending needs the package {package}: pip install 'spark_nas[{extra}]'; or leave out --run, "
            "and send what is printed with the platform's own tool"
        ) from error
    except Exception as error:
        raise UsageError(f"{platform}: not sent: {type(error).__name__}: {error}") from error
