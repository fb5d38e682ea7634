"""Training: the loop, and one stage per component."""
