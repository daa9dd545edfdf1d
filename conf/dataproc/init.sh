#!/usr/bin/env bash
# Initialisation action of a Dataproc cluster (2.2, 2.3: Python 3.11). Metadata spark-nas-code names the folder that holds
# what `make wheel` left in dist/, and conf/constraints/dataproc-2.txt. Spark, pyarrow and pandas stay the image's own.
set -euxo pipefail

code=$(/usr/share/google/get_metadata_value attributes/spark-nas-code)
work=$(mktemp -d)
gsutil cp "$code/spark_nas-*.whl" "$code/dataproc-2.txt" "$work/"
python=/opt/conda/default/bin/python
"$python" -m pip install -c "$work/dataproc-2.txt" "$(ls "$work"/spark_nas-*.whl)[torch,data,s3]"
"$python" -m pip install --no-deps petastorm==0.12.1 # it requires pyspark, which would be a second Spark
"$python" -m pip install -c "$work/dataproc-2.txt" dill diskcache fsspec future psutil six pyzmq
rm -rf "$work"
