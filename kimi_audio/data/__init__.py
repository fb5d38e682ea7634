"""Training data: texts, generated speech, corpora on disk and their augmentation."""
