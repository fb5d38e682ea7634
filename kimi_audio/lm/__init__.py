"""The audio LLM and its step engine."""
