"""What a session may be configured to do on this server, wherever the configuration comes from."""

from collections.abc import Iterable

from kimi_audio.serve.items import ConversationItem, plain_tools
from kimi_audio.serve.session_config import ResponseConfig, SessionConfig
from kimi_audio.serve.session_state import Rules
from kimi_audio.serve.session_step import Refused


def check_config(config: SessionConfig, rules: Rules) -> None:
    """See that a session can do what it is configured to do.

    Raises:
        Refused: it cannot.
    """
    try:
        plain_tools(config.tools)
    except ValueError as error:
        raise Refused(f"{error}.", "invalid_value", "session.tools") from None
    check_length(config, (), rules, "session")
    check_voice(config.audio.output.voice_name, rules, "session.audio.output.voice")


def check_length(
    config: SessionConfig | ResponseConfig, items: Iterable[ConversationItem], rules: Rules, param: str
) -> None:
    """See that instructions, tools, whatever else is configured, and items that are given with it are not too long.

    Raises:
        Refused: they are.
    """
    rest = config.model_dump_json(exclude={"instructions"}, exclude_defaults=True)
    chars = len(config.instructions) + len(rest) + sum(item.chars for item in items)
    if chars > rules.limits.chat_chars:
        message = f"Instructions, tools and given items hold more than {rules.limits.chat_chars} characters."
        raise Refused(message, "string_above_max_length", param)


def check_voice(name: str, rules: Rules, param: str) -> None:
    """See that there is a voice.

    Raises:
        Refused: there is none of this name.
    """
    if not rules.is_voice(name):
        raise Refused(f"There is no voice {name[:50]!r}.", "invalid_value", param)
