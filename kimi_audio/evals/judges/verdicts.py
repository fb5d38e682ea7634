"""Reading a judge's reply. Nothing is executed, and nothing is guessed: what is not clear is an error."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from kimi_audio.evals.contract.instruments import JudgePrompt

RULES = "verdicts/2"  # raised when the same reply is read otherwise
MOST_BRACES = 100  # a reply with more of them is no verdict, and could be nested too deep to read
_LONGEST = 20_000  # characters; what counts stands at the end
_LONGEST_LINE = 200  # of a number with what stands around it
_NUMBER = r"(\d+(?:\.\d+)?)"
_IN_BRACKETS = re.compile(rf"\[\[\s*{_NUMBER}\s*\]\]")
_LINE = re.compile(rf"(?:\D*[:：])?\s*[*`_]*{_NUMBER}[*`_]*\s*(?:/\s*(?P<highest>\d+)|分)?[.。]?[*`_]*")
# A label stands alone, behind a colon or "the score is", or before a comma: "not correct" is no "correct".
_LEAD = r"(?:[^:：]*[:：]|\W*(?:the\s+)?(?:final\s+)?(?:score|answer|reply|response|verdict|judge?ment|result)\s+is\b)?"
_TAIL = r"\W*(?:(?<=[,;.])\s.*)?"


def read_reply(prompt: JudgePrompt, reply: str) -> float:
    """Return the number that a reply stands for.

    Raises:
        ValueError: the reply does not have the form that the prompt asks for, or is off the scale.
    """
    reply = reply[-_LONGEST:]
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    if not lines:
        raise ValueError("the judge's reply is empty")
    if prompt.reply == "json":
        return _value_of(_field_of(reply, prompt.key), prompt)
    if prompt.reply == "label":
        return _label_in(lines[-1], prompt.labels)
    return _on_scale(_number_in(reply, lines[-1], prompt), prompt)


def combine(prompt: JudgePrompt, values: Sequence[float]) -> float:
    """Return the verdict of several votes: the mean, or of labels the most frequent (in a tie, the lowest)."""
    if not prompt.labels:
        return fmean(values)
    counts = Counter(values)
    return min(value for value, count in counts.items() if count == max(counts.values()))


def _label_in(line: str, labels: Mapping[str, float]) -> float:
    worth = {label.lower(): value for label, value in labels.items()}
    either = "|".join(map(re.escape, sorted(worth, key=len, reverse=True)))
    named = re.findall(rf"(?<!\w)(?:{either})(?!\w)", line.lower())
    if len(named) != 1 or not re.fullmatch(rf"{_LEAD}\W*{re.escape(named[0])}{_TAIL}", line.lower()):
        raise ValueError(f"the last line of the judge's reply is not one of {', '.join(labels)}: {line[:80]!r}")
    return worth[named[0]]


def _number_in(reply: str, last_line: str, prompt: JudgePrompt) -> float:
    if bracketed := _IN_BRACKETS.findall(reply):
        return float(bracketed[-1])
    match = _LINE.fullmatch(last_line[-_LONGEST_LINE:])
    if match and float(match["highest"] or prompt.high) == prompt.high:
        return float(match[1])
    raise ValueError(f"the judge's reply ends without a number of its scale: {last_line[:80]!r}")


def _on_scale(number: float, prompt: JudgePrompt) -> float:
    if not prompt.low <= number <= prompt.high:
        raise ValueError(f"the judge's number {number:g} is not from {prompt.low:g} to {prompt.high:g}")
    return number


def _field_of(reply: str, name: str) -> Any:
    found = [item[name] for item in _objects(reply) if name in item]
    if not found:
        raise ValueError(f"the judge's reply holds no JSON object with the field {name!r}: {reply.strip()[:80]!r}")
    return found[-1]


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects of a text, those inside others left out."""
    decoder, place = json.JSONDecoder(), 0
    if text.count("{") > MOST_BRACES:
        return
    while (place := text.find("{", place)) >= 0:
        try:
            item, place = decoder.raw_decode(text, place)
        except ValueError:
            place += 1
            continue
        yield item


def _value_of(value: Any, prompt: JudgePrompt) -> float:
    if prompt.labels:
        return _label_in(str(value), prompt.labels)
    if isinstance(value, bool) or not re.fullmatch(_NUMBER, str(value).strip()):
        raise ValueError(f"the judge's {prompt.key} is no number: {str(value)[:80]!r}")
    return _on_scale(float(value), prompt)
