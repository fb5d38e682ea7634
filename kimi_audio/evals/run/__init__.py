"""The steps of an evaluation: ask, score, add up. Each can be stopped, resumed and repeated alone."""
