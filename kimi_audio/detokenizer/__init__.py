"""Semantic tokens to sound: flow matching to a mel spectrogram, then the vocoder."""
