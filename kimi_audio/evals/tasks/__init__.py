"""Tasks, one readable file per dataset. Each module named below holds ``TASKS`` and may hold ``SUITES``."""

MODULES: tuple[str, ...] = ()
