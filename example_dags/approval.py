"""A person approves: a token's address goes out by mail, and a task waits for the answer."""

from __future__ import annotations

import smtplib
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_trigger.operators.waitpoint import CreateWaitpointTokenOperator
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor

PARAMS = {"approver": "ann@example.com", "mail_server": ""}

with DAG(dag_id="approval", schedule=None, params=PARAMS):
    create = CreateWaitpointTokenOperator(task_id="create", timeout="3d")

    @task
    def ask(token: dict[str, str], params: dict[str, Any]) -> None:
        """Mail the address: who has it can answer, so do not log it. Airflow's UI hides a ``token``."""
        message = EmailMessage()
        message["Subject"], message["To"] = "Shall the report be published?", params["approver"]
        answer = """--json '{"approved": true}'"""
        message.set_content(f"Within three days, send your answer:\n\ncurl {answer} {token['url']}\n")
        if params["mail_server"]:
            with smtplib.SMTP(params["mail_server"]) as server:
                server.send_message(message)
        else:
            print(f"No mail_server in the params: {params['approver']} is not asked")

    wait = WaitpointTokenSensor(
        task_id="wait",
        token_id=create.output,
        deferrable=True,
        retries=1,
        timeout=timedelta(days=4).total_seconds(),
    )

    @task
    def publish(answer: Any) -> str:
        """Use the answer, which can be any JSON."""
        if not isinstance(answer, dict) or answer.get("approved") is not True:
            raise ValueError("The report was not approved")
        return "published"

    ask(token=create.output) >> wait
    publish(wait.output)
