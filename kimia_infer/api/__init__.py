"""See ``kimia_infer``."""
