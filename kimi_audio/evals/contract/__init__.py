"""What an evaluation is, as plain data: samples, models, predictions, scorers, results, and their keys."""
