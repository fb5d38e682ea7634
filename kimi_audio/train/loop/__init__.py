"""The training loop, which knows no model: schedule, optimiser, processes, checkpoints, journal, memory."""
