"""Create waitpoint tokens, complete them, and wait for them. Without Airflow."""
