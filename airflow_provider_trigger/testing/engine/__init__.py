"""The model of a Trigger.dev server: runs, environments, bulk actions, rate limit. Knows nothing of HTTP."""
