from __future__ import annotations

from token_server import tokens, waitpoints, wired

__all__ = ["tokens", "waitpoints", "wired"]
