"""The architecture of every component as a frozen dataclass, read from and written to the released config files.

Field names are ours; ``key`` gives the name in the released file where it differs. Values that the code does not
implement are refused (``FIXED``), missing ones are named, and keys that no component reads are left alone, because the
released files carry many fields of their training frameworks. Types follow from the annotations, and every number has a
range: a damaged file is told in a sentence, before it costs time or memory.
"""

from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from math import prod
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from kimi_audio.core.numbers import finite_number, whole_number
from kimi_audio.core.units import OUTPUT_RATE_HZ, OUTPUT_SAMPLES_PER_MEL_FRAME, exact_div

Solver = Literal["euler", "adams-bashforth"]  # of the flow: of first order, and of second
Quantize = Literal["none", "int8", "int4"]  # of the matrices of the LLM
MAX_LAYERS = 1000  # building a network of more takes minutes
MAX_BEAMS = 16
MAX_VOCODER_LIST = 16  # stages, kernels or dilations, whose numbers multiply


def key(name: str | None = None, *, low: float | None = None, high: float | None = None, **options: Any) -> Any:
    """Declare a dataclass field.

    Args:
        name: that the released file gives it, if it is another one.
        low: the smallest number, by default 1 for whole ones and 0 for others.
        high: the largest number.
        options: of ``dataclasses.field``.
    """
    named = {} if name is None else {"key": name}
    return field(metadata=named | {"low": low, "high": high}, **options)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Conversion from and to the dictionary of a released config file."""

    FIXED: ClassVar[dict[str, tuple[Any, ...]]] = {}  # released key -> the values that the code implements
    TINY: ClassVar[dict[str, Any]] = {}  # fields of ``tiny`` without a default, and some with one

    @classmethod
    def tiny(cls, **changes: Any) -> Self:
        """Return a network that is built and run in milliseconds, for tests; ``changes`` replace its fields."""
        return cls(**cls.TINY | changes)

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for item in fields(self):
            low, high = item.metadata.get("low"), item.metadata.get("high")
            name = item.metadata.get("key", item.name)
            value = _checked(name, getattr(self, item.name), hints[item.name], low, high)
            object.__setattr__(self, item.name, value)
        self._check()

    def _check(self) -> None:
        """Check what holds between fields, in the names of the released file."""

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "config") -> Self:
        """Build the config from the released file's dictionary.

        Raises:
            ValueError: a needed key is missing, or a value is one that this package does not implement, of the wrong
                type, out of range, or does not fit the others.
        """
        for name, allowed in cls.FIXED.items():
            if name in values and values[name] not in allowed:
                raise ValueError(f"{source}: {name}={values[name]!r:.60} is not supported; it must be {allowed[0]!r}")
        arguments, missing = {}, []
        for item in fields(cls):
            name = item.metadata.get("key", item.name)
            if name in values:
                arguments[item.name] = values[name]
            elif item.default is MISSING and item.default_factory is MISSING:
                missing.append(name)
        if missing:
            raise ValueError(f"{source} lacks {', '.join(missing)}")
        try:
            return cls(**arguments)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the dictionary of the released file: fixed values and fields under their released names."""
        values = {name: allowed[0] for name, allowed in self.FIXED.items()}
        return values | {item.metadata.get("key", item.name): getattr(self, item.name) for item in fields(self)}


_hints = cache(get_type_hints)


def _checked(name: str, value: Any, hint: Any, low: float | None, high: float | None) -> Any:
    """Return a value as its annotation wants it: lists as tuples, whole numbers where others are meant as floats."""
    if get_origin(hint) is UnionType:
        return None if value is None else _checked(name, value, _without_none(hint), low, high)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} must be a list, not {value!r:.60}")
        return tuple(_checked(name, item, get_args(hint)[0], low, high) for item in value)
    if hint is int:
        return whole_number(name, value, 1 if low is None else int(low), 10_000_000 if high is None else int(high))
    if hint is float:
        return finite_number(name, value, 0 if low is None else low, 1e12 if high is None else high)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(hint)))}, not {value!r:.60}")
        return value
    if not isinstance(value, hint):
        wanted = {bool: "true or false", str: "a string"}.get(hint, hint.__name__)
        raise ValueError(f"{name} must be {wanted}, not {value!r:.60}")
    return value


def _without_none(hint: Any) -> Any:
    (kind,) = (part for part in get_args(hint) if part is not NoneType)
    return kind


def _check_divides(whole_name: str, whole: int, name: str, part: int) -> None:
    if whole % part:
        raise ValueError(f"{whole_name} {whole} is not a multiple of {name} {part}")


def _check_heads(size: int, heads: int, size_name: str, heads_name: str, *, rotary: bool = False) -> None:
    """Check that channels divide evenly into heads, of which rotary positions need an even number of channels."""
    _check_divides(size_name, size, heads_name, heads)
    if rotary and size // heads % 2:
        raise ValueError(f"{size_name} {size} gives {heads} heads an odd number of channels")


@dataclass(frozen=True, kw_only=True)
class LMConfig(Config):
    """The audio LLM (``config.json``): shared layers, text layers and head, audio layers and head.

    The defaults of ``delay_tokens`` and of the special ids follow the release; older configs lack some of them.
    """

    FIXED: ClassVar = {
        "architectures": (["MoonshotKimiaForCausalLM"],),
        "hidden_act": ("silu",),
        "rope_scaling": (None,),
        "tie_word_embeddings": (False,),
        "use_whisper_feature": (True,),
    }
    TINY: ClassVar = {
        "vocab_size": 120,
        "audio_offset": 80,
        "pad_id": 79,
        "max_positions": 256,
        "adaptor_input_size": 8,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "num_kv_heads": 1,
        "num_layers": 2,
        "num_audio_layers": 1,
        "branch_layer_index": 0,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e4,
    }

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int = key("num_hidden_layers", high=MAX_LAYERS)
    num_heads: int = key("num_attention_heads")
    num_kv_heads: int = key("num_key_value_heads")
    rms_norm_eps: float = key(high=1)
    rope_theta: float = key(low=1)
    max_positions: int = key("max_position_embeddings")
    num_audio_layers: int = key("kimia_mimo_layers", high=MAX_LAYERS)
    branch_layer_index: int = key("kimia_mimo_transformer_from_layer_index", low=0)  # its output feeds the audio layers
    delay_tokens: int = key("kimia_mimo_audiodelaytokens", low=0, high=1000, default=6)
    audio_offset: int = key("kimia_token_offset")  # id of audio code 0
    adaptor_input_size: int = key("kimia_adaptor_input_dim")
    pad_id: int = key("pad_token_id", low=0)
    initializer_range: float = key(high=10, default=0.02)

    def _check(self) -> None:
        _check_heads(self.hidden_size, self.num_heads, "hidden_size", "num_attention_heads", rotary=True)
        _check_divides("num_attention_heads", self.num_heads, "num_key_value_heads", self.num_kv_heads)
        if self.branch_layer_index >= self.num_layers:
            raise ValueError(
                f"kimia_mimo_transformer_from_layer_index {self.branch_layer_index} is none of the {self.num_layers} "
                "num_hidden_layers"
            )
        if self.audio_offset >= self.vocab_size:
            raise ValueError(f"kimia_token_offset {self.audio_offset} is outside the vocab_size {self.vocab_size}")
        if self.pad_id >= self.vocab_size:
            raise ValueError(f"pad_token_id {self.pad_id} is outside the vocab_size {self.vocab_size}")

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return exact_div(self.hidden_size, self.num_heads)

    @property
    def num_codes(self) -> int:
        """Number of audio codes; they are the last ids of the vocabulary."""
        return self.vocab_size - self.audio_offset


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Config):
    """A Whisper encoder (``whisper-large-v3/config.json``); also the base of the semantic tokenizer."""

    FIXED: ClassVar = {"activation_function": ("gelu",), "scale_embedding": (False,)}
    TINY: ClassVar = {
        "num_mel_bins": 16,
        "max_frames": 64,
        "pad_windows": False,
        "hidden_size": 8,
        "num_layers": 1,
        "num_heads": 2,
        "ffn_size": 16,
    }

    num_mel_bins: int = key(high=1000)
    hidden_size: int = key("d_model")
    num_layers: int = key("encoder_layers", high=MAX_LAYERS)
    num_heads: int = key("encoder_attention_heads")
    ffn_size: int = key("encoder_ffn_dim")
    max_frames: int = key("max_source_positions", default=1500)  # 50 Hz frames of one window
    # The released acoustic encoder was trained on windows filled up to 30 s with silence and needs them.
    pad_windows: bool = key("kimi_audio_pad_windows", default=True)

    def _check(self) -> None:
        _check_heads(self.hidden_size, self.num_heads, "d_model", "encoder_attention_heads")


@dataclass(frozen=True, kw_only=True)
class SemanticConfig(EncoderConfig):
    """The semantic tokenizer (``glm-4-voice-tokenizer/config.json``): encoder up to the pooling, then one codebook."""

    FIXED: ClassVar = EncoderConfig.FIXED | {
        "encoder_causal_convolution": (True,),
        "encoder_causal_attention": (False,),
        "quantize_causal_encoder": (False,),
        "quantize_encoder_only": (True,),
        "pooling_type": ("avg",),
        "pooling_kernel_size": (4,),
    }
    TINY: ClassVar = EncoderConfig.TINY | {"num_used_layers": 1, "num_codes": 300, "block_frames": 8}

    num_used_layers: int = key("pooling_position")  # layers after the pooling are not in the checkpoint
    num_codes: int = key("quantize_vocab_size")
    block_frames: int = key("quantize_causal_block_size")  # attention is full inside a block, causal between blocks
    commit_coefficient: float = key("quantize_commit_coefficient", default=0.25)
    loss_scale: float = key("quantize_loss_scale", default=10.0)
    ema_decay: float = key("quantize_ema_decay", default=0.99)
    restart_interval_steps: int = key("quantize_restart_interval", default=100)
    pad_windows: bool = key("kimi_audio_pad_windows", default=False)

    def _check(self) -> None:
        super()._check()
        if self.num_used_layers > self.num_layers:
            raise ValueError(f"pooling_position {self.num_used_layers} is outside the {self.num_layers} layers")


@dataclass(frozen=True, kw_only=True)
class DiTConfig(Config):
    """The flow-matching network (``model.dit`` of ``audio_detokenizer/config.yaml``)."""

    FIXED: ClassVar = {
        "ffn_type": ("vanilla_mlp",),
        "position_embedding_type": ("skip",),
        "use_rope": (True,),
    }
    TINY: ClassVar = {
        "num_mel_bins": 20,
        "num_codes": 100,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "mlp_ratio": 2.0,
    }

    num_mel_bins: int = key("input_size", high=1000)
    num_codes: int = key("semantic_vocab_size")  # the embedding has one row more: the null token of the guidance
    hidden_size: int
    num_layers: int = key("depth", high=MAX_LAYERS)
    num_heads: int
    mlp_ratio: float = key(low=0.1, high=100)
    max_frames: int = key("max_seq_len", default=4096)  # positions before the streaming state must be re-based
    rope_base: float = key(low=1, default=10000.0)

    def _check(self) -> None:
        _check_heads(self.hidden_size, self.num_heads, "hidden_size", "num_heads", rotary=True)


@dataclass(frozen=True, kw_only=True)
class FlowConfig(Config):
    """``audio_detokenizer/config.yaml``: the network and the normalisation of its log-mels."""

    TINY: ClassVar = {"dit": DiTConfig.tiny()}

    dit: DiTConfig
    mel_mean: float = key(low=-100, high=100, default=0.0)
    mel_std: float = key(low=1e-3, high=100, default=1.0)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "config.yaml") -> Self:
        """Build from the released YAML, whose network sits under ``model.dit``."""
        try:
            dit = dict(values["model"]["dit"])
        except (KeyError, TypeError):
            raise ValueError(f"{source} lacks model.dit") from None
        rope = dit.get("rope_params") or {}
        if not isinstance(rope, dict) or rope.get("rope_interpolation_factor", 1.0) != 1.0:
            raise ValueError(f"{source}: rope_interpolation_factor must be 1.0")
        if "rope_base" in rope:
            dit["rope_base"] = rope["rope_base"]
        network = DiTConfig.from_dict(dit, f"{source}: model.dit")
        if not values.get("normalize_mel", True):
            return cls(dit=network)
        missing = [name for name in ("mel_mean", "mel_std") if name not in values]
        if missing:
            raise ValueError(f"{source} lacks {', '.join(missing)}")
        try:
            return cls(dit=network, mel_mean=values["mel_mean"], mel_std=values["mel_std"])
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the released nesting."""
        dit = self.dit.to_dict()
        base = dit.pop("rope_base")
        dit["rope_params"] = {
            "max_position_embeddings": self.dit.max_frames,
            "rope_base": base,
            "rope_interpolation_factor": 1.0,
        }
        return {
            "model": {"dit": dit},
            "normalize_mel": True,
            "mel_mean": self.mel_mean,
            "mel_std": self.mel_std,
        }


@dataclass(frozen=True, kw_only=True)
class VocoderConfig(Config):
    """BigVGAN and the log-mel that it inverts (``vocoder/config.json``)."""

    FIXED: ClassVar = {
        "resblock": ("1",),
        "activation": ("snakebeta",),
        "snake_logscale": (True,),
        "use_tanh_at_final": (False,),
        "use_bias_at_final": (False,),
        "hop_size": (OUTPUT_SAMPLES_PER_MEL_FRAME,),
        "sampling_rate": (24_000,),
    }
    TINY: ClassVar = {
        "num_mels": 20,
        "n_fft": 1024,
        "win_size": 1024,
        "fmin": 0,
        "fmax": None,
        "upsample_initial_channel": 32,
        "upsample_rates": (8, 6, 5, 2),
        "upsample_kernel_sizes": (16, 12, 9, 4),
        "resblock_kernel_sizes": (3,),
        "resblock_dilation_sizes": ((1, 3),),
    }

    num_mels: int = key(high=1000)
    n_fft: int = key(low=OUTPUT_SAMPLES_PER_MEL_FRAME, high=2**16)
    win_size: int
    fmin: float
    fmax: float | None
    upsample_initial_channel: int
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...] = key(high=1000)
    resblock_kernel_sizes: tuple[int, ...] = key(high=1000)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = key(high=1000)

    def _check(self) -> None:
        if self.win_size > self.n_fft:
            raise ValueError(f"win_size {self.win_size} is more than n_fft {self.n_fft}")
        if not self.fmin < (OUTPUT_RATE_HZ / 2 if self.fmax is None else self.fmax) <= OUTPUT_RATE_HZ / 2:
            raise ValueError(f"fmin {self.fmin} and fmax {self.fmax} are no range up to {OUTPUT_RATE_HZ // 2} Hz")
        if prod(self.upsample_rates) != OUTPUT_SAMPLES_PER_MEL_FRAME:
            raise ValueError(f"upsample_rates must multiply to {OUTPUT_SAMPLES_PER_MEL_FRAME}")
        kernels = self.upsample_kernel_sizes
        if len(kernels) != len(self.upsample_rates) or any(
            kernel < rate or (kernel - rate) % 2 for kernel, rate in zip(kernels, self.upsample_rates, strict=True)
        ):
            raise ValueError("upsample_kernel_sizes must be one per upsample_rate, and larger by an even number")
        _check_divides("upsample_initial_channel", self.upsample_initial_channel, "2 per stage,", 2 ** len(kernels))
        if not self.resblock_kernel_sizes or not all(kernel % 2 for kernel in self.resblock_kernel_sizes):
            raise ValueError("resblock_kernel_sizes must be odd numbers")
        if len(self.resblock_dilation_sizes) != len(self.resblock_kernel_sizes):
            raise ValueError("resblock_dilation_sizes must be one list per kernel of resblock_kernel_sizes")
        if max(map(len, (kernels, self.resblock_kernel_sizes, *self.resblock_dilation_sizes))) > MAX_VOCODER_LIST:
            raise ValueError(f"lists of kernels and dilations must have at most {MAX_VOCODER_LIST} numbers")


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    """How a model is best used (``generation_config.json``); the defaults are those of the release."""

    segment_s: float = key("kimi_audio_segment_s", low=1, high=600, default=30.0)  # longer recordings go in pieces
    ode_steps: int = key("kimi_audio_ode_steps", low=2, high=1000, default=30)  # grid points of the flow's solver
    solver: Solver = key("kimi_audio_solver", default="euler")  # noqa: RUF009 - see ``flow.integrate``
    guidance_scale: float = key("kimi_audio_guidance_scale", high=100, default=1.0)  # of the flow, see ``ChunkPlan``
    first_chunk_tokens: int = key("kimi_audio_first_chunk_tokens", low=1, high=1000, default=18)  # see ``ChunkPlan``
    look_ahead_tokens: int = key("kimi_audio_look_ahead_tokens", low=0, high=1000, default=12)  # likewise
    vocoder_context_frames: int = key("kimi_audio_vocoder_context_frames", low=0, high=1000, default=24)  # likewise
    audio_temperature: float = key("kimi_audio_temperature", high=100, default=0.8)  # of the codes, as advised
    audio_top_k: int = key("kimi_audio_top_k", low=0, default=10)
    least_peak: float = key("kimi_audio_least_peak", high=1, default=0.0)  # quieter sound is raised to it; 0: never
    quantize: Quantize = key("kimi_audio_quantize", default="none")  # noqa: RUF009 - where that is faster, see ``KimiAudio``
    transcribe_beams: int = key("kimi_audio_transcribe_beams", low=1, high=MAX_BEAMS, default=1)
    reply_beams: int = key("kimi_audio_reply_beams", low=1, high=MAX_BEAMS, default=1)  # where nothing is read aloud
    transcribe_first: bool = key("kimi_audio_transcribe_first", default=False)  # a spoken turn, before it is answered
    voices: tuple[str, ...] = key("kimi_audio_voices", default=())  # that the LLM takes on when asked by name
    # What the LLM is asked for; {text} and {voice} stand for what it is to say, and in which of its voices.
    transcribe_prompt: str = key(
        "kimi_audio_transcribe_prompt", default="Please transcribe the spoken content into written text."
    )
    speak_prompt: str = key("kimi_audio_speak_prompt", default="Please read the following text aloud: {text}")
    speak_as_prompt: str = key("kimi_audio_speak_as_prompt", default="Say in the voice of {voice}: {text}")
    convert_prompt: str = key("kimi_audio_convert_prompt", default="Say this in the voice of {voice}.")

    def _check(self) -> None:
        if self.first_chunk_tokens <= self.look_ahead_tokens:
            raise ValueError(
                f"kimi_audio_first_chunk_tokens={self.first_chunk_tokens} must be more than "
                f"kimi_audio_look_ahead_tokens={self.look_ahead_tokens}, or nothing of the first chunk is heard"
            )
        for name, parts in (("speak", ("text",)), ("speak_as", ("voice", "text")), ("convert", ("voice",))):
            for part in parts:
                if f"{{{part}}}" not in getattr(self, f"{name}_prompt"):
                    raise ValueError(f"kimi_audio_{name}_prompt must say where the {part} goes: it lacks {{{part}}}")
