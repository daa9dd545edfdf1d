"""Which Spark properties are secrets: an experiment must not hold them, as its run's record keeps what it says."""

from __future__ import annotations

import re

_SECRET = re.compile(r"secret|password|token|access[._-]?key", re.IGNORECASE)
"""What Spark itself hides in what it shows (`spark.redaction.regex`)."""
_WHERE = re.compile(r"(file|path|enabled)$", re.IGNORECASE)


def is_secret(key: str, value: str) -> bool:
    """Whether a property is one, or its value holds one.

    >>> is_secret("spark.hadoop.fs.s3a.secret.key", "abc"), is_secret("spark.ssl.keyPasswordFile", "/etc/key")
    (True, False)
    >>> is_secret("spark.driver.extraJavaOptions", "-Xss4m -Ddb.password=abc")
    True
    """
    if _SECRET.search(key) and not _WHERE.search(key):
        return True
    return any(_SECRET.search(name) for name, equals, _ in (w.partition("=") for w in value.split()) if equals)
