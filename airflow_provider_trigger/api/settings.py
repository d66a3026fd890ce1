"""How to reach a server, as one object that is passed on whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_trigger import defaults


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """
    How to reach one Trigger.dev environment.

    :param base_url: ``http(s)://host[:port][/prefix]``, without a trailing slash
    :param secret_key: picks project and environment; sent with each request and shown nowhere
    :param user_agent: what to send as the User-Agent
    :param branch: the preview branch, for a preview key; None for none
    :param timeout: for one request, in seconds
    :param retry_for: how long one call is repeated after its first request, in seconds; 0 for not at all.
        Waiting for a turn under the rate limit is not cut short: many runs in a small bucket need it
    :param verify: whether to check the server's certificate, or the path of a CA file to check it against
    :param proxy: the URL of a proxy, shown nowhere, as it may contain a password; None for what the
        environment says
    """

    base_url: str
    secret_key: str = field(repr=False)
    user_agent: str
    branch: str | None = None
    timeout: float = defaults.REQUEST_TIMEOUT
    retry_for: float = defaults.RETRY_FOR
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
