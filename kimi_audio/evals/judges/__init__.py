"""Judges: language models that rate answers where rules are not enough.

``prompts`` what a judge is told and how its reply is read, as data; ``verdicts`` reads it; ``endpoint`` any
OpenAI-compatible server; ``stand_in`` rules in the place of a judge; ``scorer`` makes scores of verdicts.

The wording of the prompts is our own, with scale, rubric and reading of the published protocols. A score that is to
equal a published one to the decimal needs the prompts and the judge model of then: give them in a file of your own.
"""
