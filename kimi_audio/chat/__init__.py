"""Conversations: their messages, the template that writes them as sequences, calls of tools in their text."""

from kimi_audio.chat.messages import MESSAGE_TYPES, ROLES, LossChoice, Message, OutputType, parse_messages
from kimi_audio.chat.template import ChatTemplate

__all__ = ["MESSAGE_TYPES", "ROLES", "ChatTemplate", "LossChoice", "Message", "OutputType", "parse_messages"]
