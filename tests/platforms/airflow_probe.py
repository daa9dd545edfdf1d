"""Run by the Python of an Airflow, which has nothing of ours: what it makes of docs/examples/airflow_dag.py.

airflow_probe.py DAG_FILE               the DAG's settings as JSON
airflow_probe.py DAG_FILE CLUSTER TRY   one try of its task on that cluster; prints done, retry or failed
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

from airflow.dag_processing.dagbag import DagBag
from airflow.exceptions import AirflowException, AirflowFailException


def main(file: str, cluster: str = "", number: str = "1") -> None:
    bag = DagBag(file)
    assert bag.import_errors == {}, bag.import_errors
    [dag] = bag.dags.values()
    [task] = dag.tasks
    if not cluster:
        settings = {"max_active_runs": dag.max_active_runs, "catchup": dag.catchup, "retries": task.retries}
        print(json.dumps({**settings, "at_once": task.max_active_tis_per_dag, "trigger": task.trigger_rule}))
        return
    context = {
        "dag_run": SimpleNamespace(run_after=datetime(2026, 11, 24, tzinfo=UTC)),
        "ti": SimpleNamespace(try_number=int(number)),
        "task": task,
    }
    task.render_template_fields(context)
    task.job_flow_id, task.aws_conn_id, task.do_xcom_push, task.waiter_delay = cluster, None, False, 1
    try:
        task.execute(context)
    except AirflowFailException as error:
        print(f"failed: {error}")
    except AirflowException:
        print("retry")
    else:
        print("done")


main(*sys.argv[1:])
