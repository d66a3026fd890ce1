"""Apache Airflow provider for Trigger.dev."""

from __future__ import annotations

__version__ = "0.1.0"
