"""KimiAudio, the composed system: the official numbers from wav files on, and the promises of every call."""

import gc
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kimi_audio
from kimi_audio import Answer, GenerationOptions, KimiAudio, Message, SamplingOptions, checkpoint
from kimi_audio.answers import StreamChunk
from kimi_audio.assistant import MIN_PREFIX_BYTES, raised
from kimi_audio.audio.io import load_audio
from kimi_audio.core.config import Settings
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_SAMPLES_PER_TOKEN, tokens_in_audio
from kimi_audio.detokenizer.stream import ChunkPlan, Detokenizer
from kimi_audio.detokenizer.vocoder import BigVGAN
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.empty import build_empty
from kimi_audio.voice import Voice


@pytest.fixture(scope="module")
def model(reference: Path) -> KimiAudio:
    """The reference model with a smaller vocoder to save time, and short chunks because it says few codes."""
    model = KimiAudio(reference / "checkpoint", device="cpu")
    old = model.detokenizer
    assert old is not None
    torch.manual_seed(0)
    sizes = {"upsample_initial_channel": 64, "upsample_rates": (5, 4, 4, 3, 2)}
    blocks = {"resblock_kernel_sizes": (3,), "resblock_dilation_sizes": ((1,),)}
    config = replace(old.vocoder_config, **sizes, upsample_kernel_sizes=(9, 8, 8, 5, 4), **blocks)
    plan = ChunkPlan(chunk_tokens=2, first_chunk_tokens=2, look_ahead_tokens=1, ode_steps=3)
    model.detokenizer = Detokenizer(old.dit, BigVGAN(config).eval(), old.flow_config, config, plan)
    return model


@pytest.fixture(scope="module")
def question(reference: Path) -> Path:
    return reference / "audio" / "question.wav"


@pytest.fixture(scope="module")
def cases(reference: Path) -> dict[str, dict]:
    """The official cases, with the paths of their audio."""
    folder = str(reference / "audio")

    def resolve(content: Any) -> Any:
        if isinstance(content, list):
            return [resolve(content[0]), content[1]]
        return f"{folder}/{content}" if content.endswith(".wav") else content

    cases = json.loads((reference / "expected" / "prompts_and_greedy.json").read_text())
    for case in cases.values():
        for message in case["messages"]:
            message["content"] = resolve(message["content"])
    return cases


def sampling_of(case: dict) -> dict[str, Any]:
    """The arguments of the official call."""
    return {"max_new_tokens": case.get("steps") or 40} | (case.get("sampling") or {})


SHORT = GenerationOptions(output_type="both", max_new_tokens=40)
LIVELY = SamplingOptions(temperature=1.0, top_k=20)


# ---------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.reference
def test_prompts_from_files_equal_official(model, cases):
    for name, case in cases.items():
        prompt = model.template.prompt(case["messages"], case["output_type"])
        assert prompt.audio_ids.tolist() == case["audio_ids"], name
        assert prompt.text_ids.tolist() == case["text_ids"], name
        assert prompt.is_continuous.int().tolist() == case["is_continuous"], name


@pytest.mark.reference
def test_greedy_replies_equal_official(model, cases):
    offset, special = model.lm.config.audio_offset, model.text_tokenizer.special
    compared = 0
    for name, case in cases.items():
        if case["greedy_text_tokens"] is None:
            continue
        wav, text = model.generate(case["messages"], case["output_type"], **sampling_of(case), seed=0)
        legal = [i for i in case["greedy_text_tokens"] if i < offset and i not in (special.blank, special.text_end)]
        assert text == model.text_tokenizer.decode(legal, skip_special=True), name
        if case["output_type"] == "both":
            codes = [id_ - offset for id_ in case["greedy_audio_tokens"] if id_ >= offset]
            torch.testing.assert_close(wav, model.synthesise(codes, seed=0)[None])
            assert wav.shape == (1, len(codes) * OUTPUT_SAMPLES_PER_TOKEN), name
        else:
            assert wav is None
        compared += 1
    assert compared


def test_official_script_runs(reference, question):
    from kimia_infer.api.kimia import KimiAudio as Official

    model = Official(model_path=str(reference / "checkpoint"), load_detokenizer=True)
    model.to("cpu")
    sampling_params = {
        "audio_temperature": 0.8,
        "audio_top_k": 10,
        "text_temperature": 0.0,
        "text_top_k": 5,
        "audio_repetition_penalty": 1.0,
        "audio_repetition_window_size": 64,
        "text_repetition_penalty": 1.0,
        "text_repetition_window_size": 16,
    }
    messages = [
        {"role": "user", "message_type": "text", "content": "Please transcribe the following audio:"},
        {"role": "user", "message_type": "audio", "content": str(question)},
    ]
    wav, text = model.generate(messages, **sampling_params, output_type="text", max_new_tokens=5)
    assert wav is None
    assert text == model.generate(messages, max_new_tokens=5)[1]  # at temperature 0 the other numbers change nothing
    wav, text = model.generate(messages[1:], **sampling_params, output_type="both", max_new_tokens=20, seed=0)
    assert wav.detach().cpu().view(-1).numpy().dtype == "float32"
    assert wav.shape[1] % OUTPUT_SAMPLES_PER_TOKEN == 0


# ---------------------------------------------------------------------------------------------------------------------
# Streaming


@pytest.mark.parametrize("remainder", [0, 1])  # chunks of two: the last one is filled, or not
def test_streamed_reply_is_the_whole_reply(model, remainder):
    options = GenerationOptions(text=LIVELY, audio=LIVELY, output_type="both", max_new_tokens=40)
    messages = [Message("user", "text", "hello")]
    answers = ((seed, model.answer(messages, options, seed=seed)) for seed in range(20))
    seed, whole = next(
        (seed, answer) for seed, answer in answers if len(answer.codes) > 3 and len(answer.codes) % 2 == remainder
    )
    chunks = list(model.stream(messages, options, seed=seed))
    streamed = Answer.of(chunks)
    assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (streamed.text, streamed.codes, streamed.finish_reason) == (whole.text, whole.codes, whole.finish_reason)
    torch.testing.assert_close(streamed.audio, whole.audio, atol=1e-5, rtol=0)
    assert len(whole.audio) == len(whole.codes) * OUTPUT_SAMPLES_PER_TOKEN
    assert sum(len(chunk.audio) > 0 for chunk in chunks) >= 2
    assert any(chunk.text for chunk in chunks[:3])
    # The same in stages, which may be elsewhere.
    thoughts = list(model.think(messages, options, seed=seed))
    assert not any(len(chunk.audio) for chunk in thoughts)
    assert (Answer.of(thoughts).text, Answer.of(thoughts).codes) == (whole.text, whole.codes)
    cutting, speech = model.code_chunks(), model.begin_speech(seed=seed)
    pushed = [(code, number == len(whole.codes)) for number, code in enumerate(whole.codes, 1)]
    parts = [speech.render(*cut) for code_and_end in pushed for cut in cutting.push(*code_and_end)]
    torch.testing.assert_close(torch.cat(parts), whole.audio, atol=1e-5, rtol=0)


def test_several_chats_are_answered_as_if_each_were_alone(model, question):
    options = GenerationOptions(text=LIVELY, audio=LIVELY, output_type="both", max_new_tokens=12)
    chats = [
        [Message("user", "text", "hello")],
        [Message("user", "audio", question)],
        [Message("user", "text", "what is this"), Message("user", "audio", question)],
    ]
    replies = [model.stream(chat, options, seed=3) for chat in chats]
    together = [Answer.of(reply) for reply in replies]
    for chat, answer in zip(chats, together, strict=True):
        alone = model.answer(chat, options, seed=3)
        assert (answer.text, answer.codes, answer.finish_reason) == (alone.text, alone.codes, alone.finish_reason)
        torch.testing.assert_close(answer.audio, alone.audio, atol=1e-5, rtol=0)
    assert len({answer.codes for answer in together}) == 3


def test_streams_begin_before_they_are_read_and_end_when_nobody_holds_them(model, monkeypatch):
    started, cancelled = [], []
    start = model._engine.start
    monkeypatch.setattr(model._engine, "start", lambda *given: started.append(given) or start(*given))
    cancel = model._engine._cancel
    monkeypatch.setattr(model._engine, "_cancel", lambda request: cancelled.append(request) or cancel(request))
    replies = [model.stream([Message("user", "text", "hello")], SHORT, seed=0) for _ in range(3)]
    assert len(started) == 3
    assert not cancelled
    del replies
    gc.collect()
    assert len(cancelled) == 3


def test_what_is_wrong_is_told_before_a_stream_is_read(model):
    with pytest.raises(ValueError, match="nothing to reply to"):
        model.stream([])


def test_streamed_text(model, question):
    messages = [Message("user", "audio", str(question))]
    options = GenerationOptions(max_new_tokens=20)
    chunks = list(model.stream(messages, options))
    assert Answer.of(chunks) == model.answer(messages, options)
    assert all(len(chunk.audio) == 0 for chunk in chunks)


def test_streamed_sound_belongs_to_its_receiver(model):
    for chunk in model.stream([Message("user", "text", "hello")], SHORT, seed=0):
        chunk.audio.mul_(0.5)


def test_cancelling_ends_the_reply(model):
    steps = itertools.count()
    seen = list(model.stream([Message("user", "text", "hello")], SHORT, cancelled=lambda: next(steps) >= 5))
    assert len(seen) <= 6
    assert seen[-1].is_final
    assert seen[-1].finish_reason == "cancelled"


# ---------------------------------------------------------------------------------------------------------------------
# Repeatability and history


def test_a_seed_repeats_a_reply(model):
    options = replace(SHORT, text=LIVELY, audio=LIVELY, max_new_tokens=25)
    messages = [Message("user", "text", "hello")]
    first, again, other = (model.answer(messages, options, seed=seed) for seed in (1, 1, 2))
    assert (first.text, first.codes) == (again.text, again.codes)
    assert torch.equal(first.audio, again.audio)
    assert first.codes != other.codes
    free = [model.answer(messages, options).codes for _ in range(2)]
    assert free[0] != free[1]


def test_replies_go_into_the_history(model, question):
    messages = [Message("user", "audio", str(question))]
    answer = model.answer(messages, SHORT, seed=0)
    history = [*messages, answer.message(), Message("user", "text", "and?")]
    prompt = model.template.prompt(history, "both")
    codes = (torch.tensor(answer.codes) + model.lm.config.audio_offset).tolist()
    row = prompt.audio_ids.tolist()
    assert any(row[start : start + len(codes)] == codes for start in range(len(row)))
    text = model.answer(messages, GenerationOptions(max_new_tokens=5))
    assert text.message() == Message("assistant", "text", text.text)


def test_a_second_turn_computes_what_is_new(model, question):
    """Speech is a prefix of what continues it; the steps of its end, where the text had ended, are computed again."""
    computed = []
    messages = [Message("user", "audio", str(question)), Message("user", "text", "Something nobody asked before.")]
    first = len(model.template.prompt(messages, "both"))
    answer = model.answer(messages, SHORT, seed=0)
    history = [*messages, answer.message(), Message("user", "text", "and?")]
    one_step = replace(SHORT, max_new_tokens=1)
    hook = model.lm.register_forward_pre_hook(lambda _, inputs: computed.append(inputs[0].positions.numel()))
    model.answer(history, one_step, seed=0)
    hook.remove()
    assert sum(computed) <= len(model.template.prompt(history, "both")) - first
    assert 0 < model.kept_bytes <= MIN_PREFIX_BYTES


def test_a_transcript_leaves_the_memory_to_conversations(model, question):
    model.answer([Message("user", "text", "Is this kept?")], replace(SHORT, max_new_tokens=1))
    kept = model.kept_bytes
    assert kept > 0
    model.transcribe(question)
    assert model.kept_bytes == kept


@pytest.mark.parametrize(("beams", "expected"), [(None, 3), (1, 1), (2, 2)])
def test_a_transcript_has_the_beams_that_are_asked_for(model, question, monkeypatch, beams, expected):
    options, stream = [], model.stream

    def noted(messages: list[Message], how: GenerationOptions, **others: Any) -> Iterator[StreamChunk]:
        options.append(how)
        return stream(messages, replace(how, max_new_tokens=4), **others)

    monkeypatch.setattr(model, "settings", replace(model.settings, transcribe_beams=3))
    monkeypatch.setattr(model, "stream", noted)
    model.transcribe(question, beams=beams)
    assert [how.beams for how in options] == [expected]
    with pytest.raises(ValueError, match="beams"):
        model.transcribe(question, beams=0)


def test_recordings_are_encoded_once(model, question):
    tokens = model.encode_audio(question)
    assert tokens.features.shape == (len(tokens.codes), 4 * model.acoustic.config.hidden_size)
    assert model.encode_audio(tokens) is tokens
    ready = model.template.prompt([Message("user", "audio", tokens)])
    assert torch.equal(ready.audio_ids, model.template.prompt([Message("user", "audio", question)]).audio_ids)


# ---------------------------------------------------------------------------------------------------------------------
# Everyday calls


def say(monkeypatch: pytest.MonkeyPatch, model: KimiAudio, reply: Callable[[list[Message]], str]) -> None:
    """Let the model hear nothing and write what ``reply`` returns."""

    def stream(messages: list[Message], _options: object, **_: object) -> Iterator[StreamChunk]:
        return iter([StreamChunk(reply(messages), torch.zeros(0), True, "stop")])

    monkeypatch.setattr(model, "encode_audio", lambda source: source)
    monkeypatch.setattr(model, "stream", stream)


@pytest.mark.parametrize(("segment_s", "least"), [(30.0, 3), (7.5, 10)])
def test_long_recordings_are_transcribed_in_pieces(model, monkeypatch, segment_s, least):
    wav = torch.randn(int(70.5 * INPUT_RATE_HZ), generator=torch.Generator().manual_seed(0))
    asked = []

    def reply(messages: list[Message]) -> str:
        asked.append(messages)
        return "" if len(asked) == 2 else f"text-{len(asked) - 1}"

    monkeypatch.setattr(model, "settings", replace(model.settings, segment_s=segment_s))
    say(monkeypatch, model, reply)
    monkeypatch.setattr("kimi_audio.transcript.listening.holds_speech", lambda _: True)
    text = model.transcribe((wav, INPUT_RATE_HZ), instruction="Write.")
    pieces = [audio.content[0] for _, audio in asked]
    assert torch.equal(torch.cat(pieces), wav)
    assert max(map(len, pieces)) <= segment_s * INPUT_RATE_HZ
    assert len(pieces) >= least
    assert {instruction.content for instruction, _ in asked} == {"Write."}
    assert text == " ".join(f"text-{number}" for number in range(len(pieces)) if number != 1)


def test_codes_are_drawn_as_the_settings_of_the_model_say(model, monkeypatch):
    settings = replace(model.settings, audio_temperature=0.3, audio_top_k=7)
    monkeypatch.setattr(model, "settings", settings)
    for output_type in ("text", "both"):
        assert model.default_options(output_type) == GenerationOptions(
            output_type=output_type, audio=SamplingOptions(0.3, 7)
        )


def test_replies_are_looked_for_as_the_settings_say_and_what_is_read_is_not(model, monkeypatch):
    monkeypatch.setattr(model, "settings", replace(model.settings, reply_beams=3))
    for output_type in ("text", "both"):
        assert model.default_options(output_type).beams == 3
        assert model.default_options(output_type).lexicon is model.lexicon
        assert model.reading_options(output_type) == model.default_options(output_type).without_beams()
    assert model.transcript_options().beams == model.settings.transcribe_beams


def test_the_official_call_looks_for_the_likeliest_text_alone(model, monkeypatch):
    asked: list[GenerationOptions] = []

    def answer(self: KimiAudio, messages: object, options: GenerationOptions, **_: Any) -> Answer:
        asked.append(options)
        return Answer("", None, "stop")

    monkeypatch.setattr(model, "settings", replace(model.settings, reply_beams=3))
    monkeypatch.setattr(KimiAudio, "answer", answer)
    for how in ({}, {"text_temperature": 0.5}, {"text_repetition_penalty": 1.1}):
        model.generate([Message("user", "text", "hi")], **how)
    assert [options.beams for options in asked] == [3, 1, 1]


def test_8_bits_are_used_where_they_are_faster_and_nothing_else_is_wanted(model, monkeypatch):
    monkeypatch.setattr(model, "settings", replace(model.settings, quantize="int8"))
    cases = [("AVX2", None, None, "int8"), ("AVX512", None, None, "int8"), ("DEFAULT", None, None, None)]
    cases += [("AVX2", "none", None, None), ("AVX2", None, torch.float32, None), ("DEFAULT", "int4", None, "int4")]
    for cpu, wanted, dtype, expected in cases:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda cpu=cpu: cpu)
        monkeypatch.setattr(model, "_quantize", wanted)
        monkeypatch.setattr(model, "_dtype", dtype)
        assert model.quantize == expected


def test_a_quantised_model_is_loaded_again_on_another_kind_of_device(reference, monkeypatch):
    model = KimiAudio(reference / "checkpoint", load_detokenizer=False, device="cpu", quantize="int8")
    elsewhere = build_empty(lambda: AudioLM(model.lm.config))
    loaded = []

    def load(folder: Path, device: torch.device, dtype: torch.dtype, quantize: str) -> AudioLM:
        loaded.append((folder, device.type, quantize))
        return elsewhere

    monkeypatch.setattr(checkpoint, "load_lm", load)
    model.to("cpu")
    assert loaded == []
    model.to("meta")
    assert loaded == [(reference / "checkpoint", "meta", "int8")]
    assert model.lm is elsewhere


def test_unknown_timestamps_are_refused_before_the_recording_is_read(model):
    with pytest.raises(ValueError, match="use 'segment' or 'word'"):
        model.listen("not-there.wav", "sentence")


def test_a_transcript_is_streamed_while_the_recording_is_read(model, monkeypatch):
    read = []

    def blocks(*_: Any, **__: Any) -> Any:
        for number in range(100):
            read.append(number)
            yield torch.zeros(INPUT_RATE_HZ)

    monkeypatch.setattr("kimi_audio.assistant.audio_blocks", blocks)
    monkeypatch.setattr("kimi_audio.transcript.listening.holds_speech", lambda _: True)
    monkeypatch.setattr(model, "settings", replace(model.settings, segment_s=1.0))
    say(monkeypatch, model, lambda _: "word")
    parts = model.stream_transcript("x.wav")
    assert next(parts) == "word"
    assert len(read) < 20
    assert next(parts) == " word"
    assert "".join(parts).count("word") >= 98


def test_question_comes_before_the_recording(model, question, monkeypatch):
    prompts = []

    def answer(self: KimiAudio, messages: list[Message]) -> Answer:
        prompts.append(messages)
        return Answer("text", None, "stop")

    monkeypatch.setattr(KimiAudio, "answer", answer)
    assert model.ask(question, "What?") == "text"
    assert prompts == [[Message("user", "text", "What?"), Message("user", "audio", question)]]


def test_voice_is_converted_at_the_same_length(model, question):
    samples = len(load_audio(question, INPUT_RATE_HZ))
    wav = model.convert_voice(question, seed=0)
    assert wav.shape == (tokens_in_audio(samples) * OUTPUT_SAMPLES_PER_TOKEN,)
    with question.open("rb") as voice:  # an open file can be read only once
        other = model.convert_voice(question, seed=0, voice=voice)
    codes = model.encode_audio(question).codes.tolist()
    torch.testing.assert_close(wav, model.synthesise(codes, seed=0))
    torch.testing.assert_close(other, model.synthesise(codes, seed=0, voice=question))
    assert not torch.allclose(other, wav)


def test_speech_needs_text(model):
    with pytest.raises(ValueError, match="no text to speak"):
        model.speak("  ")


def test_a_voice_of_the_model_is_asked_for_by_name(model, question, monkeypatch):
    asked: list[tuple[list[Message], object]] = []

    def answer(messages, options, *, seed, voice):
        assert options == model.reading_options()
        asked.append((messages, voice))
        return Answer("", torch.ones(2), "stop")

    monkeypatch.setattr(model, "settings", replace(model.settings, voices=("Ben", "Dora")))
    monkeypatch.setattr(model, "answer", answer)
    model.speak("hello", voice="dora")
    model.convert_voice(question, voice="Ben")
    model.speak("hello", voice=str(question))
    contents = [[message.content for message in messages] for messages, _ in asked]
    assert contents == [
        ["Say in the voice of Dora: hello"],
        ["Say this in the voice of Ben.", question],
        ["Please read the following text aloud: hello"],
    ]
    assert [voice for _, voice in asked] == [None, None, Voice(recording=str(question))]
    with pytest.raises(ValueError, match=r"takes on Ben by name only where it reads aloud .* give a recording"):
        KimiAudio.answer(model, [Message("user", "text", "hello")], SHORT, voice="Ben")


def test_the_prompts_are_those_of_the_settings(model, question, monkeypatch):
    asked: list[Message] = []

    def answer(self: KimiAudio, messages: list[Message], options: object, **_: Any) -> Answer:
        asked.append(messages[0])
        return Answer("", torch.ones(2), "stop")

    settings = Settings.from_dict(
        {
            "kimi_audio_voices": ["Ben"],
            "kimi_audio_speak_prompt": "Read: {text}",
            "kimi_audio_speak_as_prompt": "{voice}, read: {text}",
            "kimi_audio_convert_prompt": "{voice}, say it",
        }
    )
    monkeypatch.setattr(model, "settings", settings)
    monkeypatch.setattr(KimiAudio, "answer", answer)
    model.speak("{voice} hello")
    model.speak("{voice} hello", voice="ben")
    model.convert_voice(question, voice="ben")
    assert [message.content for message in asked] == ["Read: {voice} hello", "Ben, read: {voice} hello", "Ben, say it"]


def test_speak_says_the_text(model, monkeypatch):
    asked = []

    def answer(self: KimiAudio, messages: list[Message], options: GenerationOptions, **_: Any) -> Answer:
        asked.append((messages[0].content, options))
        return Answer("", torch.zeros(3), "stop")

    monkeypatch.setattr(KimiAudio, "answer", answer)
    assert len(model.speak("Good morning.")) == 3
    assert asked == [("Please read the following text aloud: Good morning.", model.reading_options())]


def test_empty_replies_are_silent(model):
    assert model.synthesise([], seed=0).shape == (0,)


# ---------------------------------------------------------------------------------------------------------------------
# Loading


def test_without_detokenizer_there_is_only_text(reference):
    model = KimiAudio.from_pretrained(reference / "checkpoint", load_detokenizer=False, dtype=torch.bfloat16)
    assert model.answer([Message("user", "text", "hi")], GenerationOptions(max_new_tokens=3)).audio is None
    for call in (
        lambda: model.generate([Message("user", "text", "hi")], output_type="both"),
        lambda: list(model.stream([Message("user", "text", "hi")])),
        lambda: model.convert_voice(reference / "audio" / "question.wav"),
    ):
        with pytest.raises(ValueError, match="speech needs the detokenizer"):
            call()


def test_lower_precision_keeps_codes_and_vocoder_exact(reference, question):
    model = KimiAudio(reference / "checkpoint", device="cpu", dtype=torch.bfloat16)
    assert model.lm.lm_head.weight.dtype == torch.bfloat16
    assert model.semantic.conv1.weight.dtype == torch.float32
    assert model.detokenizer.vocoder.conv_pre.weight.dtype == torch.float32
    wav = model.synthesise(model.encode_audio(question).codes[:4].tolist(), seed=0)
    assert wav.dtype == torch.float32
    assert wav.isfinite().all()


def test_semantic_tokenizer_may_lie_elsewhere(reference):
    folder = reference / "glm-4-voice-tokenizer"
    model = KimiAudio(reference / "checkpoint", load_detokenizer=False, semantic_tokenizer=folder, device="cpu")
    assert model.semantic.config.num_codes == model.lm.config.num_codes
    with pytest.raises(ValueError, match=r"vocoder/config\.json lacks num_mel_bins"):
        KimiAudio(reference / "checkpoint", semantic_tokenizer=reference / "checkpoint" / "vocoder")


def test_base_model_is_warned_about(reference, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint, "find_model", lambda *_, **__: reference / "checkpoint")
    KimiAudio("moonshotai/Kimi-Audio-7B", load_detokenizer=False, device="cpu")
    assert "does not follow instructions" in caplog.text


def test_everything_moves_to_another_device(reference):
    model = KimiAudio(reference / "checkpoint", device="cpu")
    assert model.to("meta") is model
    assert model.device == model.detokenizer.device == torch.device("meta")
    for part in (model.lm, model.semantic, model.acoustic, model.detokenizer.dit, model.detokenizer.vocoder):
        assert {tensor.device.type for tensor in part.state_dict().values()} == {"meta"}, type(part).__name__


def test_malformed_conversations(model, tmp_path):
    with pytest.raises(ValueError, match="unknown output_type 'sound'"):
        model.generate([], output_type="sound")
    with pytest.raises(ValueError, match="message 0: unknown role"):
        model.generate([{"role": "nobody", "message_type": "text", "content": "hi"}])
    with pytest.raises(FileNotFoundError, match="there is no file"):
        model.generate([Message("user", "audio", tmp_path / "missing.wav")])
    codes = torch.zeros(model.lm.config.max_positions, dtype=torch.long)
    with pytest.raises(ValueError, match="no room for a reply"):
        model.generate([Message("user", "audio", AudioTokens(codes))])


def test_public_names():
    for name in kimi_audio.__all__:
        assert getattr(kimi_audio, name).__module__.startswith("kimi_audio.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kimi_audio.nothing  # noqa: B018


# ---------------------------------------------------------------------------------------------------------------------
# Silence, languages, lengths and odd arguments


@pytest.mark.parametrize("level", [0.0, 0.2])
def test_nothing_is_written_where_nobody_speaks(model, monkeypatch, level):
    monkeypatch.setattr(KimiAudio, "stream", lambda *_: pytest.fail("the model was asked"))
    wav = level * torch.randn(12 * INPUT_RATE_HZ, generator=torch.Generator().manual_seed(0))
    assert model.transcribe((wav, INPUT_RATE_HZ)) == ""
    assert list(model.stream_transcript((wav, INPUT_RATE_HZ))) == []


def test_silent_pieces_are_left_out(model, question, monkeypatch):
    said = load_audio(question, INPUT_RATE_HZ)
    asked = []

    say(monkeypatch, model, lambda messages: asked.append(messages) or "said")
    monkeypatch.setattr(model, "settings", replace(model.settings, segment_s=5.0))
    silence = torch.zeros(15 * INPUT_RATE_HZ)
    text = model.transcribe((torch.cat([silence, said, silence, said]), INPUT_RATE_HZ))
    assert 2 <= len(asked) <= 4
    assert text == " ".join(["said"] * len(asked))


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (["one", "two"], "one two"),
        (["你好，", "世界"], "你好，世界"),
        (["你好", "世界。", "今天"], "你好世界。今天"),
        (["你好", "Anna", "再见"], "你好 Anna 再见"),
        (["こんにちは", "カナ"], "こんにちはカナ"),
        (["안녕", "하세요"], "안녕 하세요"),
    ],
)
def test_pieces_are_joined_as_their_script_is_written(model, monkeypatch, texts, joined):
    said = iter(texts)
    say(monkeypatch, model, lambda _: next(said))
    monkeypatch.setattr("kimi_audio.transcript.listening.holds_speech", lambda _: True)
    monkeypatch.setattr(model, "settings", replace(model.settings, segment_s=1.0))
    monkeypatch.setattr("kimi_audio.audio.segments._quietest", lambda wav, begin, end: end)
    assert model.transcribe((torch.zeros(len(texts) * INPUT_RATE_HZ), INPUT_RATE_HZ)) == joined


def test_sound_that_leaves_no_room_is_not_encoded(model, monkeypatch):
    monkeypatch.setattr(KimiAudio, "encode_audio", lambda *_: pytest.fail("it was encoded"))
    room_s = model.lm.config.max_positions * 0.08
    hour = (torch.zeros(3600 * INPUT_RATE_HZ), INPUT_RATE_HZ)
    half = (torch.zeros(int(0.6 * room_s * INPUT_RATE_HZ)), INPUT_RATE_HZ)
    for contents in ([hour], [half, half]):
        messages = [Message("user", "audio", content) for content in contents]
        for call in (model.answer, lambda messages: list(model.stream(messages))):
            with pytest.raises(ValueError, match=r"the audio is too long: .* leave no room for a reply"):
                call(messages)


def test_numbers_of_numpy_are_taken_and_others_refused(model):
    messages = [{"role": "user", "message_type": "text", "content": "hello"}]
    same = [
        model.generate(messages, seed=seed, max_new_tokens=np.int64(3))[1] for seed in (7, np.int64(7), np.uint8(7))
    ]
    assert len(set(same)) == 1
    for wrong in ({"seed": 1.5}, {"seed": "1"}, {"seed": 2**70}, {"max_new_tokens": 5.0}, {"max_new_tokens": -2}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be a whole number"):
            model.generate(messages, **wrong)
    with pytest.raises(ValueError, match=r"^temperature must be a number"):
        model.generate(messages, "both", audio_temperature=float("nan"))


@pytest.mark.parametrize("output_type", ["text", "both"])
def test_a_conversation_has_messages(model, output_type):
    for call in (model.generate, lambda *_: list(model.stream([], output_type))):
        with pytest.raises(ValueError, match="give at least one message"):
            call([], output_type)


def test_a_reply_without_a_code_has_no_sound_however_it_is_asked_for(model):
    messages = [Message("user", "text", "hello")]
    options = GenerationOptions(output_type="both", max_new_tokens=1)
    assert model.answer(messages, options, seed=0).audio is None
    assert Answer.of(model.stream(messages, options, seed=0)).audio is None
    wav, _ = model.generate(messages, "both", max_new_tokens=1, seed=0)
    assert wav is not None
    assert wav.shape == (1, 0)  # as the official script uses it: ``wav.detach()``


def test_a_reply_must_be_streamed_to_its_end(model):
    with pytest.raises(ValueError, match="was not streamed to its end"):
        Answer.of([])
    with pytest.raises(ValueError, match="was not streamed to its end"):
        Answer.of(itertools.islice(model.stream([Message("user", "text", "hello")], SHORT, seed=0), 1))


@pytest.mark.parametrize("wrong", [[128], [-1], [1.0], ["1"], [True]])
def test_codes_of_another_model_are_refused(model, wrong):
    with pytest.raises(ValueError, match="a code must be a whole number from 0 to 127"):
        model.synthesise([3, *wrong])
    model.synthesise(np.array([3, 4]), seed=0).requires_grad_()


@pytest.mark.parametrize("samples", [1, 200, 271, 1000])
def test_a_voice_has_a_shortest_length(model, monkeypatch, samples):
    monkeypatch.setattr(model, "encode_audio", lambda *_: pytest.fail("the work began"))
    voice = (torch.zeros(samples), INPUT_RATE_HZ)
    for call in (
        lambda: model.synthesise([1], voice=voice),
        lambda: model.answer([Message("user", "text", "hello")], SHORT, voice=voice),
    ):
        with pytest.raises(ValueError, match=r"the recording of the voice lasts \d+ ms; at least 0.1 s are needed"):
            call()


def test_quiet_sound_is_raised_if_the_settings_say_so(model, question, monkeypatch):
    wav = load_audio(question, INPUT_RATE_HZ)
    quiet = 0.01 * wav
    assert raised(wav, 0.0) is wav
    assert raised(wav, 0.1) is wav
    assert float(raised(quiet, 0.1).abs().max()) == pytest.approx(0.1)
    assert torch.equal(raised(torch.zeros(5), 0.1), torch.zeros(5))
    loud, soft = (model.encode_audio((sound, INPUT_RATE_HZ)).features for sound in (wav, quiet))
    assert not torch.allclose(loud, soft, atol=1e-2)  # that of the release hears the difference
    monkeypatch.setattr(model, "settings", replace(model.settings, least_peak=1.0))
    loud, soft = (model.encode_audio((sound, INPUT_RATE_HZ)).features for sound in (wav, quiet))
    torch.testing.assert_close(loud, soft, atol=1e-3, rtol=1e-3)
