"""What can go wrong with a request: the fault methods, and the queue in which faults wait for theirs."""
