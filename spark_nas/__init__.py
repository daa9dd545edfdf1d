"""Neural architecture search on the Spark cluster one already has.

search space x search method x evaluation method, run as Spark jobs: see `spark_nas.assemble` for what there is.
"""
