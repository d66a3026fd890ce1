"""What to send and how to read the answer; one file a resource."""
