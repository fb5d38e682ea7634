"""Rules in the place of a judge, for tests and for trying things out offline. Its scores mean nothing."""

from collections.abc import Mapping, Sequence

from kimi_audio.evals.contract.instruments import JudgePrompt, Verdict
from kimi_audio.evals.contract.keys import Clip
from kimi_audio.evals.judges.prompts import own_prompts
from kimi_audio.evals.metrics.qa import answer_tokens, contains

ALTERNATIVES = " | "  # between several references
ENOUGH_TOKENS = 20  # an answer of so many different words gets the highest rating


class StandIn:
    """Looks for the reference in the answer; where there is none, counts the different words of the answer."""

    name = "stand-in (rules, not a judge)"
    concurrency = 1

    def __init__(self) -> None:
        self.prompts = own_prompts()

    def version(self, prompt: JudgePrompt) -> str:
        """Return name and prompt."""
        return f"{self.name}, {prompt.fingerprint}"

    def rate(self, prompt: JudgePrompt, fields: Mapping[str, str], clips: Sequence[Clip] = ()) -> Verdict:
        """Return a verdict that is always the same for the same answer."""
        scale = prompt.labels.values() or (prompt.low, prompt.high)
        low, high = min(scale), max(scale)
        if reference := fields.get("reference"):
            share = float(contains(fields["answer"], reference.split(ALTERNATIVES)))
        else:
            share = min(1.0, len(set(answer_tokens(fields["answer"]))) / ENOUGH_TOKENS)
        return Verdict(low + share * (high - low), (f"{self.name}: {share:.2f}",))
