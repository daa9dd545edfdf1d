"""From a location - a path or a URI - to the files there."""

from __future__ import annotations

import re

from spark_nas.errors import OutputError
from spark_nas.object_store import SCHEMES, StorageOptions
from spark_nas.storage.files import Files, LocalFiles

_URI = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):(/.*)", re.DOTALL)
"""With one slash too: `s3:/bucket` is a slip, and no folder of that name is wanted."""
_MOUNTED = {"dbfs": "/dbfs", "file": ""}


def open_files(location: str, options: StorageOptions | None = None) -> Files:
    """The files at a local path, or at an s3://, s3a://, gs:// or abfss:// URI; nothing is asked of the store yet.

    `dbfs:/x` is the path `/dbfs/x`, under which Databricks mounts it, and `file:///x` is `/x`. Raises OutputError for
    anything else.
    """
    found = _URI.fullmatch(location)
    if found is None:
        return LocalFiles(location)
    scheme, path = found.groups()
    if scheme in _MOUNTED:
        return LocalFiles(f"{_MOUNTED[scheme]}/{path.lstrip('/')}")
    if scheme in SCHEMES and not path.startswith("//"):
        raise OutputError(f"{location!r}: give {scheme}://BUCKET/PREFIX")
    if scheme in ("s3", "s3a"):
        from spark_nas.storage.s3 import S3Files

        return S3Files(location, options)
    if scheme in SCHEMES:
        from spark_nas.storage.arrow_files import ArrowFiles

        return ArrowFiles(location, options)
    known = ", ".join(f"{known}://" for known in SCHEMES)
    raise OutputError(f"{location!r}: there is no store {scheme!r}: give a local or mounted folder, or {known}")
