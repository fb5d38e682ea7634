"""The architecture of every component as a frozen dataclass, read from and written to the released config files.

Field names are ours; ``key`` gives the name in the released file where it differs. Values that the code does not
implement are refused (``FIXED``), missing ones are named, and keys that no component reads are left alone, because the
released files carry many fields of their training frameworks.
"""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Self

from kimi_audio.units import OUTPUT_SAMPLES_PER_MEL_FRAME, exact_div


def key(name: str, **options: Any) -> Any:
    """Declare a dataclass field that the released file calls ``name``."""
    return field(metadata={"key": name}, **options)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Conversion from and to the dictionary of a released config file."""

    FIXED: ClassVar[dict[str, tuple[Any, ...]]] = {}  # released key -> the values that the code implements
    TINY: ClassVar[dict[str, Any]] = {}  # fields of ``tiny`` without a default, and some with one

    @classmethod
    def tiny(cls, **changes: Any) -> Self:
        """Return a network that is built and run in milliseconds, for tests; ``changes`` replace its fields."""
        return cls(**cls.TINY | changes)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "config") -> Self:
        """Build the config from the released file's dictionary.

        Raises:
            ValueError: a needed key is missing, or a value is one that this package does not implement.
        """
        for name, allowed in cls.FIXED.items():
            if name in values and values[name] not in allowed:
                raise ValueError(f"{source}: {name}={values[name]!r} is not supported; it must be {allowed[0]!r}")
        arguments, missing = {}, []
        for item in fields(cls):
            name = item.metadata.get("key", item.name)
            if name in values:
                value = values[name]
                arguments[item.name] = _tuples(value)
            elif item.default is MISSING and item.default_factory is MISSING:
                missing.append(name)
        if missing:
            raise ValueError(f"{source} lacks {', '.join(missing)}")
        return cls(**arguments)

    def to_dict(self) -> dict[str, Any]:
        """Return the dictionary of the released file: fixed values and fields under their released names."""
        values = {name: allowed[0] for name, allowed in self.FIXED.items()}
        return values | {item.metadata.get("key", item.name): getattr(self, item.name) for item in fields(self)}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


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
    num_layers: int = key("num_hidden_layers")
    num_heads: int = key("num_attention_heads")
    num_kv_heads: int = key("num_key_value_heads")
    rms_norm_eps: float
    rope_theta: float
    max_positions: int = key("max_position_embeddings")
    num_audio_layers: int = key("kimia_mimo_layers")
    branch_layer_index: int = key("kimia_mimo_transformer_from_layer_index")  # its output feeds the audio layers
    delay_tokens: int = key("kimia_mimo_audiodelaytokens", default=6)
    audio_offset: int = key("kimia_token_offset")  # id of audio code 0
    adaptor_input_size: int = key("kimia_adaptor_input_dim")
    pad_id: int = key("pad_token_id")
    initializer_range: float = 0.02

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

    num_mel_bins: int
    hidden_size: int = key("d_model")
    num_layers: int = key("encoder_layers")
    num_heads: int = key("encoder_attention_heads")
    ffn_size: int = key("encoder_ffn_dim")
    max_frames: int = key("max_source_positions", default=1500)  # 50 Hz frames of one window
    # The released acoustic encoder was trained on windows filled up to 30 s with silence and needs them.
    pad_windows: bool = key("kimi_audio_pad_windows", default=True)


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

    def __post_init__(self) -> None:
        if not 0 < self.num_used_layers <= self.num_layers:
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

    num_mel_bins: int = key("input_size")
    num_codes: int = key("semantic_vocab_size")  # the embedding has one row more: the null token of the guidance
    hidden_size: int
    num_layers: int = key("depth")
    num_heads: int
    mlp_ratio: float
    max_frames: int = key("max_seq_len", default=4096)  # positions before the streaming state must be re-based
    rope_base: float = 10000.0


@dataclass(frozen=True, kw_only=True)
class FlowConfig(Config):
    """``audio_detokenizer/config.yaml``: the network and the normalisation of its log-mels."""

    TINY: ClassVar = {"dit": DiTConfig.tiny()}

    dit: DiTConfig
    mel_mean: float = 0.0
    mel_std: float = 1.0

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "config.yaml") -> Self:
        """Build from the released YAML, whose network sits under ``model.dit``."""
        try:
            dit = dict(values["model"]["dit"])
        except (KeyError, TypeError):
            raise ValueError(f"{source} lacks model.dit") from None
        rope = dit.get("rope_params") or {}
        if rope.get("rope_interpolation_factor", 1.0) != 1.0:
            raise ValueError(f"{source}: rope_interpolation_factor must be 1.0")
        dit["rope_base"] = float(rope.get("rope_base", 10000.0))
        normalised = values.get("normalize_mel", True)
        missing = [name for name in ("mel_mean", "mel_std") if normalised and name not in values]
        if missing:
            raise ValueError(f"{source} lacks {', '.join(missing)}")
        return cls(
            dit=DiTConfig.from_dict(dit, f"{source}: model.dit"),
            mel_mean=float(values["mel_mean"]) if normalised else 0.0,
            mel_std=float(values["mel_std"]) if normalised else 1.0,
        )

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

    num_mels: int
    n_fft: int
    win_size: int
    fmin: float
    fmax: float | None
    upsample_initial_channel: int
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    """How a model is best used (``generation_config.json``); the defaults are those of the release."""

    segment_s: float = key("kimi_audio_segment_s", default=30.0)  # longer recordings are transcribed in pieces
    ode_steps: int = key("kimi_audio_ode_steps", default=30)  # grid points of the flow's solver
    guidance_scale: float = key("kimi_audio_guidance_scale", default=1.0)  # of the flow, see ``ChunkPlan``
    audio_temperature: float = key("kimi_audio_temperature", default=0.8)  # of the codes, as the release advises
    audio_top_k: int = key("kimi_audio_top_k", default=10)
    voices: tuple[str, ...] = key("kimi_audio_voices", default=())  # that the LLM takes on when asked by name
