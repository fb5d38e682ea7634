"""The special tokens of Kimi-Audio: their names, what they mean, and their ids in a given text tokenizer.

Ids differ between checkpoints (the release starts at 151643), names do not. So ids are always looked up by
name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

# Field of SpecialIds -> name in tokenizer_config.json.
SPECIAL_NAMES = {
    "user_start": "<|im_kimia_user_msg_start|>",
    "assistant_start": "<|im_kimia_assistant_msg_start|>",
    "message_end": "<|im_msg_end|>",
    "media_begin": "<|im_media_begin|>",
    "media_end": "<|im_media_end|>",
    "blank": "<|im_kimia_text_blank|>",
    "text_end": "<|im_kimia_text_eos|>",
    "reply_text": "<|im_kimia_speech_ct_id|>",
    "reply_both": "<|im_kimia_speech_ctd_id|>",
    "pad": "[PAD]",
}

# The release lists its special tokens in this order, right after the ranks; None stands for the next reserved
# token.
_RELEASED_ORDER: tuple[str | None, ...] = (
    "[BOS]",
    "[EOS]",
    "<|im_msg_end|>",
    "<|im_user_msg_start|>",
    "<|im_assistant_msg_start|>",
    *[None] * 4,
    "[EOT]",
    *[None] * 8,
    "<|im_media_begin|>",
    None,
    "<|im_media_end|>",
    *[None] * 2,
    "<|im_kimia_text_blank|>",
    "<|im_kimia_text_eos|>",
    *[None] * 2,
    "<|im_kimia_user_msg_start|>",
    "<|im_kimia_assistant_msg_start|>",
    *[None] * 3,
    "<|im_kimia_speech_ct_id|>",
    "<|im_kimia_speech_ctd_id|>",
)


@dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """Ids of the special tokens that the model's format uses."""

    user_start: int  # audio row: a run of user messages begins
    assistant_start: int  # audio row: a run of assistant messages begins
    message_end: int  # audio row: the run ends; also ends a generated reply
    media_begin: int  # audio row: codes of heard audio follow
    media_end: int  # audio row: they end; ends a generated reply too
    blank: int  # either row: nothing here, the other row has the content
    text_end: int  # text row: the assistant's text is complete
    reply_text: int  # audio row, after heard audio: answer in text
    reply_both: int  # audio row, after heard audio: answer in text and speech
    pad: int  # fills batches; carries no meaning

    @classmethod
    def lookup(cls, ids: Mapping[str, int]) -> Self:
        """Find the ids by name in a tokenizer's special tokens.

        Raises:
            ValueError: the tokenizer lacks some of them.
        """
        missing = [name for name in SPECIAL_NAMES.values() if name not in ids]
        if missing:
            raise ValueError(f"the text tokenizer lacks the special tokens {', '.join(missing)}")
        return cls(**{item.name: ids[SPECIAL_NAMES[item.name]] for item in fields(cls)})


def special_token_names(count: int | None = None) -> list[str]:
    """Return the names of the release's special tokens in order of their ids; ``[PAD]`` is the last.

    Args:
        count: how many (the release has 421, filled up with reserved tokens); by default only as many as
            needed.
    """
    needed = len(_RELEASED_ORDER) + 1
    count = needed if count is None else count
    if count < needed:
        raise ValueError(f"the format needs {needed} special tokens, not {count}")
    names, reserved = [], 0
    for name in (*_RELEASED_ORDER, *[None] * (count - needed)):
        if name is None:
            name, reserved = f"<|reserved_token_{reserved}|>", reserved + 1
        names.append(name)
    return [*names, "[PAD]"]
