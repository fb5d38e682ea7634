"""Names of the official package, so that scripts written for it run unchanged."""
