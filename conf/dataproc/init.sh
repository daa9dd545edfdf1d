#!/usr/bin/env bash
# Initialisation action of a Dataproc cluster. Metadata spark-nas-code names the folder that holds what `make wheel` left
# in dist/. What the image ships - Spark, pyarrow, pandas, numpy - stays exactly as it is.
set -euxo pipefail

code=$(/usr/share/google/get_metadata_value attributes/spark-nas-code)
work=$(mktemp -d)
gsutil cp "$code/spark_nas-*.whl" "$work/"
python=/opt/conda/default/bin/python
"$python" -m pip list --format=freeze >"$work/shipped.txt"
"$python" -m pip install -c "$work/shipped.txt" "$(ls "$work"/spark_nas-*.whl)[torch,data,s3,report,petastorm-needs]"
# petastorm by itself requires pyspark, which would be a second Spark; what else it needs is in petastorm-needs.
"$python" -m pip install --no-deps petastorm==0.12.1
rm -rf "$work"
