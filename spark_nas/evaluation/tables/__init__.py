"""Loaders of published tables of recorded trainings, one file a table."""
