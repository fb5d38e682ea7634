"""The training stages of the bundled nano."""
