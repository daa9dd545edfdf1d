"""Data sets: preparing shards with Spark, and reading them with petastorm as batches of arrays."""
