"""Start many runs, know all of them, and cancel them within the seconds of a stop; imports no Airflow."""
