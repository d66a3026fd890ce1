"""In which ways Airflow gets the key, and which endings its tasks meet. No Dag is in here."""

from __future__ import annotations

# A connection in the database, and two in variables of the environment.
WAYS = ("stored", "json", "uri")

# Of each ending the connection that brings it about, and the pattern of a line in the log that tells of it.
ENDINGS = {
    "refused": ("refused", r"{run}.* to 127.0.0.1:9: Connection refused"),
    "untrusted": ("untrusted", r"{run}.*: the server's certificate is not accepted"),
    "rejected": ("server", r"{run}.* answered 401: Rejected Authorization: Bearer \*\*\*"),
    "echoed": ("server", r"{run}.* answered 500: Rejected Authorization: Bearer \*\*\*"),
    "redirected": ("server", r"{run}.* answered 302: a redirect to https://example.com/login\?key=\*\*\*"),
    "garbage": ("server", r"{run}.* answered 400: \(text/\*\*\*, "),
    "hungup": ("server", r"{run}.*: Remote end closed connection"),
    "malformed": ("malformed", r"Connection '{way}_malformed', field '"),
    "crashed": ("server", r"a bug, met by {run}"),
    "crashedsending": ("server", r"a bug, met by {run}"),
    "works": ("server", r""),
}
CRASHES = ("crashed", "crashedsending")

# Each ending with a connection of the database; where it counts how Airflow got the key, with all of them.
CASES = [
    (way, ending)
    for ending in ENDINGS
    for way in WAYS
    if way == "stored" or ending in ("rejected", "malformed", "works")
]


def connection_of(way: str, ending: str) -> str:
    """Return the id of the connection with which an ending is met."""
    return f"{way}_{ENDINGS[ending][0]}"


def run_of(way: str, ending: str, route: str) -> str:
    """
    Return the id of the Trigger.dev run that is canceled, or would be.

    :param way: how Airflow got the key
    :param ending: what is met
    :param route: who cancels: "task", its "callback", the "dag"'s callback, the "deadline" alert
    """
    return f"run_{way}{ending}{route}"


def pattern_of(way: str, ending: str, route: str) -> str:
    """Return what a log matches when an ending was met; empty where nothing goes wrong."""
    return ENDINGS[ending][1].format(way=way, run=run_of(way, ending, route))
