"""The one process of Airflow that a browser needs."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import requests
from whole_airflow import versions
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until

HERE = Path(__file__).parent
IS_2 = versions.AIRFLOW < (3, 0)


class WebServer(WholeAirflow):
    """
    An Airflow of which only the web server (Airflow 3: the API server) runs; people log in with a password.

    :param home: an empty directory, the ``AIRFLOW_HOME``
    """

    def __init__(self, home: Path) -> None:
        passwords = home / "passwords.json"
        environment = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
        if IS_2:
            # The form's Test button calls the API, as who has logged in.
            environment["AIRFLOW__API__AUTH_BACKENDS"] = "airflow.api.auth.backend.session"
        else:
            environment |= {
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{versions.USERNAME}:admin",
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            }
        # Nothing is executed here: on SQLite, 2.11 starts with this executor alone.
        executor = "SequentialExecutor" if IS_2 else "LocalExecutor"
        super().__init__(home, dags=[HERE / "dags"], environment=environment, executor=executor)
        passwords.write_text(json.dumps({versions.USERNAME: versions.PASSWORD}))

    def __enter__(self) -> WebServer:
        """Start the one process."""
        try:
            for command in versions.preparations():
                self.run_command(*command)
            web = self.processes["webserver" if IS_2 else "api-server"]
            web.start()

            def answers() -> bool:
                web.check()
                with contextlib.suppress(requests.ConnectionError), requests.Session() as session:
                    session.trust_env = False  # no proxy
                    return session.get(self.api.url, timeout=10).ok
                return False

            wait_until(answers, timeout=120, what="the web server")
        except BaseException:
            self.__exit__()
            raise
        return self
