"""Training recipes: Python functions that return full configurations, and the command that runs them."""
