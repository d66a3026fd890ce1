"""A secret key as a marker: its spellings, the connections that hold it, the servers that repeat it."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from airflow_provider_trigger.testing import TriggerDevServer

# No notation escapes anything in its second half. Made anew each time, it is in no source file.
KEY = f"tr_prod_+/=MARKER{secrets.token_hex(16)}"
QUOTED = quote(KEY, safe="")
EXTRA = {"timeout": 5, "retry_for": 0.5}


def spellings(key: str) -> set[str]:
    """Return how a key can be written, half of it too; in base64 it depends on how much stands before it."""
    encoded = {base64.b64encode(before + key.encode()).decode()[4:-4] for before in (b"", b":", b"::")}
    half = len(key) // 2
    return {key[:half], key[half:], quote(key, safe=""), quote(key), *encoded}


@dataclass(frozen=True)
class Marked:
    """
    The servers whose key is the marker.

    :param server: the one that meets its requests with whatever their run's id says
    :param untrusted: one whose certificate nobody knows
    """

    server: TriggerDevServer
    untrusted: TriggerDevServer

    @property
    def hosts(self) -> dict[str, str]:
        """The hosts of the connections that are well-formed."""
        return {"server": self.server.url, "refused": "http://127.0.0.1:9", "untrusted": self.untrusted.url}

    def environment(self) -> dict[str, str]:
        """Return the connections that are variables of the environment."""
        variables = {
            # Not the password but the host has the key, so that Airflow does not know what to mask.
            "json_malformed": json.dumps(
                {"conn_type": "trigger_dev", "host": f"http://me:{QUOTED}@127.0.0.1"}
            ),
            # Airflow takes all of it, the key too, for the schema.
            "uri_malformed": f"trigger_dev://:{QUOTED}@127.0.0.1",
        }
        for name, host in self.hosts.items():
            fields = {"conn_type": "trigger_dev", "host": host, "password": KEY, "extra": EXTRA}
            extra = "&".join(f"{field}={value}" for field, value in EXTRA.items())
            variables[f"json_{name}"] = json.dumps(fields)
            variables[f"uri_{name}"] = f"trigger-dev://:{QUOTED}@{quote(host, safe='')}?{extra}"
        return {f"AIRFLOW_CONN_{name.upper()}": value for name, value in variables.items()}

    def stored(self) -> list[dict[str, Any]]:
        """Return the connections to store, as Airflow's API wants them."""
        common = {"conn_type": "trigger_dev", "password": KEY, "extra": json.dumps(EXTRA)}
        return [
            *(
                {"connection_id": f"stored_{name}", "host": host, **common}
                for name, host in self.hosts.items()
            ),
            {**common, "connection_id": "stored_malformed", "password": f"{KEY} {KEY}"},
        ]

    def lay_traps(self, *, works: Iterable[str]) -> None:
        """
        Let the server meet each request as the run's id says; it shows the key wherever it can.

        :param works: the ids of the runs that can be canceled
        """
        server = self.server
        server.echo_key_next(None, 401, path="rejected")
        server.echo_key_next(None, 500, path="echoed")
        server.redirect_next(None, f"https://example.com/login?key={QUOTED}", path="redirected")
        server.malformed_next(None, f"<h1>{KEY}</h1>", f"text/{KEY}", path="garbage", status=400)
        server.disconnect_next(None, path="hungup")
        for run_id in works:
            server.add_run(run_id=run_id)


@contextmanager
def marked_servers(*, ssl_certfile: str, ssl_keyfile: str) -> Iterator[Marked]:
    """
    Run the servers.

    :param ssl_certfile: a certificate that nobody knows
    :param ssl_keyfile: its key
    """
    files: dict[str, Any] = {"ssl_certfile": ssl_certfile, "ssl_keyfile": ssl_keyfile}
    with (
        TriggerDevServer(secret_key=KEY, rate_limit=None) as server,
        TriggerDevServer(secret_key=KEY, rate_limit=None, **files) as untrusted,
    ):
        yield Marked(server, untrusted)
