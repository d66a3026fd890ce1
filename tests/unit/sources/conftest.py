"""A local server in this process, for what searches runs."""

from __future__ import annotations

from in_process import client, log, network, server

__all__ = ["client", "log", "network", "server"]
