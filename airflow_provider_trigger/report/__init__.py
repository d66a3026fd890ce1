"""What is said of runs: each text once, made from what became of them."""
