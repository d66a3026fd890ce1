"""The HTTP side of the local server: its answers, the application in front, and the thread that serves it."""
