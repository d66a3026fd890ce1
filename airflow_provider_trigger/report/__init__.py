"""The texts about runs and tokens, each once: what became of them, and what to do."""
