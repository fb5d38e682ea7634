"""Sound: files, mel spectrograms, cutting and joining."""
