"""Orchestration measured: the same objective under spark_nas and its rivals, each in an environment of its own."""
