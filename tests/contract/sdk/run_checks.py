"""Let the vendor's own SDK use the local server; ``make sdk`` installs it and runs this."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from airflow_provider_trigger.testing import TriggerDevServer

# For all checks, in seconds; they need about 4.
TIME_LIMIT = 120


def main() -> int:
    """Run the checks, and return 0 if all have passed."""
    with TriggerDevServer() as server:
        server.on_task("double", output=lambda payload: payload["n"] * 2)
        server.on_task("echo", output=lambda payload: payload)
        server.on_task("broken", error="no such file")
        server.on_task("logging", output=lambda payload, log: log("WARN", payload))
        server.on_task("parked", start_after=None)
        server.on_task("slow", start_after=0.3, after=0.3, output="done")
        server.on_task("waits", waits_for_token=True)
        server.unknown_region("moon")
        environment = {"TRIGGER_API_URL": server.url, "TRIGGER_SECRET_KEY": server.secret_key}
        # A proxy of this machine must not get the requests to the local server.
        environment |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        checks = Path(__file__).parent / "checks.mjs"
        try:
            done = subprocess.run(
                ["node", str(checks)], env=os.environ | environment, timeout=TIME_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            print(f"FAILED  The checks did not end within {TIME_LIMIT} s. The last requests to the server:")
            for request in server.requests[-5:]:
                print(f"        {request.method} {request.path}: {request.status}")
            return 1
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
