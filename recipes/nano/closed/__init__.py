"""The closed world that the bundled nano knows, its voices and sounds, and its corpora."""
