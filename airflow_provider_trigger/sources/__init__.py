"""Where run ids come from."""
