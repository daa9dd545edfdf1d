"""Axis 2, which architecture next and for how long. Needs neither torch nor pyspark."""
