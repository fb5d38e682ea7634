"""What the model reads: text ids, semantic codes, acoustic features."""
