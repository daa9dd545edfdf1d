#!/usr/bin/env bash
# Bootstrap action of an EMR 7 cluster: s3://BUCKET/code/bootstrap.sh s3://BUCKET/code
# The folder holds what `make wheel` left in dist/, and conf/constraints/emr-7.txt. Where every search brings its own
# environment (`make archive`, `submit --archive`), leave the argument out.
set -euxo pipefail

# YARN isolates GPUs by cgroups of version 1, which Amazon Linux 2023 no longer mounts.
sudo mkdir -p /spark-rapids-cgroup/devices
sudo mount -t cgroup -o devices cgroupv1-devices /spark-rapids-cgroup/devices
sudo chmod a+rwx -R /spark-rapids-cgroup

code=${1:-}
if [ -n "$code" ]; then
    work=$(mktemp -d)
    aws s3 cp --recursive --exclude '*' --include '*.whl' --include 'emr-7.txt' "$code/" "$work/"
    # Python 3.11 beside the platform's 3.9, which stays as it is. Spark is the platform's own.
    sudo dnf install -y python3.11 python3.11-pip
    extras=torch,data,s3,report,petastorm-needs
    sudo /usr/bin/python3.11 -m pip install -c "$work/emr-7.txt" "$(ls "$work"/spark_nas-*.whl)[$extras]" pandas
    # petastorm by itself requires pyspark, which would be a second Spark; what else it needs is in petastorm-needs.
    sudo /usr/bin/python3.11 -m pip install --no-deps petastorm==0.12.1
    rm -rf "$work"
fi
