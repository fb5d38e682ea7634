"""Evaluation: tasks, runner, metrics, judges, models to compare with, reports. Start at ``types.py``."""
