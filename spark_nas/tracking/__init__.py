"""A search shown in other people's tools while it runs: MLflow, TensorBoard. Driver only; no run depends on it.

The results table is the truth (docs/decisions/0006). A tracker is told of every row, those of an earlier invocation
included, and adds what its tool does not have yet; one that fails is warned of and the search goes on.
"""
