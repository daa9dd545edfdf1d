#!/usr/bin/env bash
# Tells Spark which GPUs a node has (spark.{executor,worker}.resource.gpu.discoveryScript), where the platform brings no
# such script: standalone clusters and YARN of one's own. Must be executable on every node.
# Without a GPU it fails: an executor that registers with no address would train on the CPU in silence.
set -euo pipefail
addresses=$(nvidia-smi --query-gpu=index --format=csv,noheader | sed 's/[[:space:]]//g; s/.*/"&"/' | paste -sd, -)
[ -n "$addresses" ] || { echo "get_gpus.sh: nvidia-smi lists no GPU" >&2; exit 1; }
echo "{\"name\": \"gpu\", \"addresses\": [$addresses]}"
