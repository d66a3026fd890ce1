"""Which path answers what, and what the answers show."""
