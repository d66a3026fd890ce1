"""How to connect to a URL: as the caller says, else as the environment says, by the rules of requests."""

from __future__ import annotations

from typing import Any

import requests
from requests.utils import prepend_scheme_if_needed, select_proxy

from airflow_provider_trigger.api.settings import ServerSettings


def connection_options(url: str, settings: ServerSettings) -> dict[str, Any]:
    """Return ``verify`` and ``proxies``, and what else an adapter of requests takes."""
    proxies = {"https": settings.proxy, "http": settings.proxy} if settings.proxy else {}
    with requests.Session() as session:
        return {**session.merge_environment_settings(url, proxies, True, settings.verify, None)}


def proxy_for(url: str, options: dict[str, Any]) -> str | None:
    """Return the URL of the proxy to use, None for none."""
    proxy = select_proxy(url, options["proxies"])
    return str(prepend_scheme_if_needed(proxy, "http")) if proxy else None  # type: ignore[no-untyped-call]
