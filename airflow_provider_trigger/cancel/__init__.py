"""Cancel many runs; imports no Airflow."""
