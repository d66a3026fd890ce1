"""Start runs and wait for them; imports no Airflow."""
