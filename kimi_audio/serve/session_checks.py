"""What a session may be configured to do on this server, wherever the configuration comes from."""

from kimi_audio.serve.items import plain_tools
from kimi_audio.serve.session_config import SessionConfig
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
    if len(config.instructions) > rules.limits.chat_chars:
        raise Refused("The instructions are too long.", "string_above_max_length", "session.instructions")
    check_voice(config.audio.output.voice_name, rules, "session.audio.output.voice")


def check_voice(name: str, rules: Rules, param: str) -> None:
    """See that there is a voice.

    Raises:
        Refused: there is none of this name.
    """
    if not rules.is_voice(name):
        raise Refused(f"There is no voice {name[:50]!r}.", "invalid_value", param)
