"""Evaluation: ask a model, score its answers, report.

Read in this order: ``contract/types.py`` (a sample, a prediction, a scorer, a result), ``tasks/`` (what is asked and
how it is scored; the benchmarks are rows of ``benchmarks.yaml``), ``run/`` (the steps: ``infer``, ``scoring``,
``evaluate``, and the files they meet in: ``store``), ``report/``. ``metrics/`` are pure functions; ``judges/`` and
``speech/`` measure where rules are not enough; ``models/`` are the adapters; ``registry.py`` knows everything by
name, ``choose.py`` the instruments.

Each folder imports from those before it: contract, metrics, models, judges and speech, tasks, registry, run, report.
"""
