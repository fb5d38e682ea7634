"""Training recipes: functions that return full configurations of what ``kimi-audio train`` runs."""
