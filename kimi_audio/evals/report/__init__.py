"""The third step: results as Markdown, JSON, CSV and one HTML page that needs nothing else. Start at ``tables.py``."""
