"""The cache of decoded splits is bounded, evicts the least recently used, and loads once."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from spark_nas.data.cache import CacheKey, DecodedCache, DecodedSplit

SPLIT = DecodedSplit(np.zeros((10, 2), np.uint8), np.zeros(10, np.int64))
SIZE = 100


def key(name: str) -> CacheKey:
    return CacheKey("/data", "sha256:0", name)


def test_a_split_counts_its_examples_and_labels():
    assert SPLIT.bytes == SIZE


def test_what_is_cached_is_not_loaded_again():
    cache, loads = DecodedCache(), []
    for _ in range(3):
        assert cache.get(key("train"), lambda: loads.append(1) or SPLIT, SIZE) is SPLIT
    assert len(loads) == 1


def test_the_least_recently_used_split_goes_first_and_the_bound_holds():
    cache = DecodedCache()
    for name in ("a", "b", "a", "c"):
        cache.get(key(name), lambda: SPLIT, 2 * SIZE)
        assert cache.bytes <= 2 * SIZE
    assert [name for name in "abc" if key(name) in cache] == ["a", "c"]


def test_another_fingerprint_is_another_entry():
    cache = DecodedCache()
    cache.get(key("train"), lambda: SPLIT, SIZE)
    assert CacheKey("/data", "sha256:1", "train") not in cache


def test_threads_that_ask_together_load_once():
    cache, loads = DecodedCache(), []

    def load() -> DecodedSplit:
        loads.append(1)
        time.sleep(0.05)
        return SPLIT

    threads = [threading.Thread(target=cache.get, args=(key("train"), load, SIZE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1


def test_a_failed_load_leaves_nothing_behind():
    cache = DecodedCache()
    with pytest.raises(ZeroDivisionError):
        cache.get(key("train"), lambda: 1 // 0, SIZE)
    assert cache.get(key("train"), lambda: SPLIT, SIZE) is SPLIT
