"""Airflow's ``(classpath, kwargs)`` pairs, run without Airflow."""
