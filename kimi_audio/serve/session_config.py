"""What a client may set about a Realtime session and about one response, with OpenAI's names and bounds."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

PCM_RATE_HZ = 24_000
TELEPHONE_RATE_HZ = 8_000


class Frozen(BaseModel):
    """Values that do not change; fields that are not known are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AudioFormat(Frozen):
    """How sound is written: 16-bit samples at 24 kHz, or µ-law or A-law at 8 kHz."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Literal[24000, 8000] | None = None

    @field_validator("rate")
    @classmethod
    def _only_rates_that_exist(cls, rate: int | None, info: Any) -> int | None:
        if rate is not None and (rate == PCM_RATE_HZ) != (info.data.get("type") == "audio/pcm"):
            raise ValueError("audio/pcm has a rate of 24000, audio/pcmu and audio/pcma have 8000")
        return rate

    @property
    def rate_hz(self) -> int:
        """Samples per second."""
        return PCM_RATE_HZ if self.type == "audio/pcm" else TELEPHONE_RATE_HZ

    @property
    def sample_bytes(self) -> int:
        """Size of a sample."""
        return 2 if self.type == "audio/pcm" else 1

    def wire(self) -> dict[str, Any]:
        """Return what clients see."""
        return {"type": self.type} | ({"rate": PCM_RATE_HZ} if self.type == "audio/pcm" else {})


class ServerVad(Frozen):
    """A turn ends after some silence."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5000)
    silence_duration_ms: int = Field(default=500, ge=50, le=10_000)
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int | None = Field(default=None, ge=1000, le=60_000)


class SemanticVad(Frozen):
    """A turn ends when it sounds finished, or after a longer silence."""

    type: Literal["semantic_vad"] = "semantic_vad"
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class Transcription(Frozen):
    """Asks for what the user says in writing."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = Field(default=None, max_length=4096)


class AudioInput(Frozen):
    """What the user's sound is like, and what happens with it."""

    format: AudioFormat = AudioFormat()
    noise_reduction: dict[str, Any] | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = ServerVad()


class VoiceId(Frozen):
    """A voice by its id."""

    id: str


class AudioOutput(Frozen):
    """What the assistant's sound is like."""

    format: AudioFormat = AudioFormat()
    voice: str | VoiceId = "default"
    speed: float = Field(default=1.0, ge=0.25, le=1.5)

    @property
    def voice_name(self) -> str:
        """The name of the voice."""
        return self.voice if isinstance(self.voice, str) else self.voice.id


class Audio(Frozen):
    """Both directions."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class FunctionTool(Frozen):
    """A function that the model may call; its parameters are a JSON schema."""

    type: Literal["function"] = "function"
    name: str = Field(min_length=1, max_length=64)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Names of the parameters, in their order."""
        properties = self.parameters.get("properties")
        return tuple(properties) if isinstance(properties, dict) else ()


Modality = Literal["audio", "text"]
MaxTokens = Annotated[int, Field(ge=1, le=4096)] | Literal["inf"]


class SessionConfig(Frozen):
    """The configuration of a session."""

    type: Literal["realtime", "transcription"] = "realtime"
    model: str | None = None
    instructions: str = ""
    output_modalities: tuple[Modality, ...] = ("audio",)
    max_output_tokens: MaxTokens = "inf"
    tools: tuple[FunctionTool, ...] = Field(default=(), max_length=128)
    tool_choice: str | dict[str, Any] = "auto"
    audio: Audio = Audio()
    truncation: str | dict[str, Any] = "auto"
    include: tuple[str, ...] | None = None

    @field_validator("output_modalities")
    @classmethod
    def _one_modality(cls, modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
        return _spoken_or_written(modalities)

    @property
    def is_transcribed(self) -> bool:
        """Whether the client wants in writing what the user says."""
        return self.type == "transcription" or self.audio.input.transcription is not None

    def updated(self, changes: dict[str, Any]) -> "SessionConfig":
        """Return the configuration with changes, a field within a field alone too.

        Raises:
            ValueError: a value is not allowed.
        """
        return SessionConfig.model_validate(_merged(self.model_dump(), changes))

    def wire(self) -> dict[str, Any]:
        """Return what clients see."""
        values = self.model_dump(exclude={"include"} if self.include is None else None)
        values["audio"]["input"]["format"] = self.audio.input.format.wire()
        values["audio"]["output"]["format"] = self.audio.output.format.wire()
        if self.type == "transcription":
            return {"type": "transcription", "audio": {"input": values["audio"]["input"]}}
        return values


class ResponseConfig(Frozen):
    """What one response is made by: the session's configuration at its beginning, and what it asked for itself."""

    instructions: str = ""
    output_modalities: tuple[Modality, ...] = ("audio",)
    max_output_tokens: MaxTokens = "inf"
    tools: tuple[FunctionTool, ...] = Field(default=(), max_length=128)
    tool_choice: str | dict[str, Any] = "auto"
    output: AudioOutput = AudioOutput()
    conversation: Literal["auto", "none"] = "auto"
    metadata: dict[str, str] | None = Field(default=None, max_length=16)

    @field_validator("output_modalities")
    @classmethod
    def _one_modality(cls, modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
        return _spoken_or_written(modalities)

    @classmethod
    def of(cls, session: SessionConfig, changes: dict[str, Any]) -> "ResponseConfig":
        """Return the session's configuration with the changes of a response.

        Raises:
            ValueError: a value is not allowed.
        """
        names = ("instructions", "output_modalities", "max_output_tokens", "tools", "tool_choice")
        values = {name: getattr(session, name) for name in names}
        own = {name: value for name, value in changes.items() if value is not None}
        audio = own.pop("audio", {})
        output = audio.get("output") if isinstance(audio, dict) else audio
        if not isinstance(output, dict | None):
            raise ValueError("audio and its output must be objects")
        values["output"] = _merged(session.audio.output.model_dump(), output or {})
        return cls.model_validate(values | own)

    @property
    def usable_tools(self) -> tuple[FunctionTool, ...]:
        """The functions that the model may call now."""
        return () if self.tool_choice == "none" else self.tools

    @property
    def is_spoken(self) -> bool:
        """Whether the answer is to be heard, and not read alone."""
        return self.output_modalities == ("audio",)


def _spoken_or_written(modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
    """Speech always brings its text, so asking for both, as earlier clients do, means speech."""
    if not modalities:
        raise ValueError("name one of audio and text")
    return ("audio",) if "audio" in modalities else ("text",)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the old values with the new ones in their place; those of another type replace all that they hold."""
    merged = dict(old)
    for name, value in new.items():
        before = merged.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            is_same_kind = value.get("type", before.get("type")) == before.get("type")
            merged[name] = _merged(before, value) if is_same_kind else value
        else:
            merged[name] = value
    return merged
