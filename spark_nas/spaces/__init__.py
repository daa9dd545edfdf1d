"""AXIS 1, what can be built: choices, architectures and one file a search space.

Import the modules: this package loads only `core`, which needs nothing but the standard library.
"""

from spark_nas.spaces.core import SUPERNET, Architecture, Choice, SearchSpace

__all__ = ["SUPERNET", "Architecture", "Choice", "SearchSpace"]
