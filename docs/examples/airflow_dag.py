"""A search every night as an Airflow DAG: one step of a running EMR cluster, tried again on exit code 75 only.

Airflow 3 with apache-airflow-providers-amazon. EMR tells Airflow that a step failed, and keeps the driver's exit code
to itself; so jobs/entry.py leaves it in a small file, which is read here: on 75 (ended in order before the end) the
task fails as usual, and Airflow retries it; on any other code it fails for good. The run id is the night's, the same
for every try, so that a retry continues the run; the name of the ending has the try's number, so that none reads an
older one's. There is never a second driver on one run: one DAG run and one try at a time, a step is watched until it
has ended, and where all that fails, the run's lease refuses the second driver with exit code 75.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.sdk import DAG

if TYPE_CHECKING:
    from airflow.sdk import Context

BUCKET = "BUCKET"
CLUSTER = "j-0000000000000"
TRY_AGAIN = 75
RUN_ID = "nightly-{{ dag_run.run_after | ds }}"
ENDING = "runs/" + RUN_ID + "/_endings/airflow-{{ ti.try_number }}.json"

CONF = {
    "spark.speculation": "false",
    "spark.dynamicAllocation.enabled": "false",
    "spark.task.cpus": "4",
    "spark.task.resource.gpu.amount": "1",
    "spark.executor.resource.gpu.amount": "1",
    "spark.executor.resource.gpu.discoveryScript": "/usr/lib/spark/scripts/gpu/getGpusResources.sh",
    "spark.executor.instances": "2",
    "spark.executor.cores": "4",
    "spark.executor.memory": "4g",
    "spark.executor.memoryOverhead": "8g",
    "spark.pyspark.python": "/usr/bin/python3.11",
    "spark.yarn.appMasterEnv.PYSPARK_PYTHON": "/usr/bin/python3.11",
    "spark.yarn.maxAppAttempts": "1",  # else YARN tries again by itself, whatever the exit code
}
STEP = {
    "Name": f"spark-nas {RUN_ID}",
    "ActionOnFailure": "CONTINUE",
    "HadoopJarStep": {
        "Jar": "command-runner.jar",
        "Args": [
            *("spark-submit", "--deploy-mode", "cluster"),
            *(part for key, value in CONF.items() for part in ("--conf", f"{key}={value}")),
            *("--py-files", f"s3://{BUCKET}/code/spark_nas-0.1.0.zip"),
            *("--files", f"s3://{BUCKET}/experiments/asha.yaml"),
            f"s3://{BUCKET}/code/entry.py",
            *("--ending", f"s3://{BUCKET}/{ENDING}"),
            *("search", "asha.yaml", "--output", f"s3://{BUCKET}/runs", "--run-id", RUN_ID, "--time-budget", "5h30m"),
        ],
    },
}


class SearchStep(EmrAddStepsOperator):
    """Adds a step and waits for its end; a failure is for good unless the driver left exit code 75."""

    template_fields = (*EmrAddStepsOperator.template_fields, "ending")
    template_ext = ()  # what ends with .json is no file of a template here

    def __init__(self, *, ending: str, **options: object) -> None:
        super().__init__(wait_for_completion=True, **options)
        self.ending = ending

    def execute(self, context: Context) -> list[str]:
        """Returns the step's id. Raises AirflowFailException for what must not be tried again."""
        try:
            return list(super().execute(context))
        except AirflowException as failed:
            code = self.exit_code()
            if code == TRY_AGAIN:
                raise  # Airflow retries
            raise AirflowFailException(f"the search ended with exit code {code}: not to be retried") from failed

    def exit_code(self) -> int | None:
        """What the driver left, or None where it left nothing: it was killed, or never started."""
        store = S3Hook(aws_conn_id=self.aws_conn_id)
        if not store.check_for_key(self.ending, BUCKET):
            return None
        return int(json.loads(store.read_key(self.ending, BUCKET))["exit_code"])


with DAG(
    dag_id="spark_nas_nightly",
    schedule="0 1 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["spark_nas"],
):
    SearchStep(
        task_id="search",
        job_flow_id=CLUSTER,
        steps=[STEP],
        ending=ENDING,
        retries=5,
        retry_delay=timedelta(minutes=5),
        max_active_tis_per_dag=1,
        execution_timeout=timedelta(hours=12),
        waiter_delay=60,
        waiter_max_attempts=720,
    )
