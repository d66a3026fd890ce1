"""Complete waitpoint tokens, and wait for them. Without Airflow."""
