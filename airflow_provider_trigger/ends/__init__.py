"""The ends of runs, for asset watchers: which ones, and up to where they were handed over. No Airflow."""
