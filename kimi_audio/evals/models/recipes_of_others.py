"""Prompts and decoding of the models to compare with, by family and kind of task, as data.

They are those of the official Evalkit (almeval/models), which has them from the vendors' examples: the published
scores of these models were made with them. Baichuan-Audio (chat), GLM-4-Voice and Step-Audio take the prompt as their
system message, and the sound alone as the user's; that is up to the process that serves them.
"""

from collections.abc import Mapping

from kimi_audio.evals.contract.types import Recipe

Recipes = Mapping[str, Recipe]

GREEDY = {"do_sample": False}
CUT = {"max_new_tokens": 256}  # the only setting of Qwen2-Audio-Instruct, which samples as its checkpoint says
QWEN_BASE = GREEDY | CUT | {"min_new_tokens": 1}
OMNI_ASR = GREEDY | CUT | {"repetition_penalty": 1.0}
BAICHUAN_BASE = GREEDY | {"repetition_penalty": 1.3, "max_new_tokens": 700}
BAICHUAN = {
    "do_sample": True,
    "temperature": 0.8,
    "top_k": 20,
    "top_p": 0.85,
    "repetition_penalty": 1.1,
    "max_new_tokens": 1024,
}
GLM = {"temperature": 0.2, "top_p": 0.8, "max_new_tokens": 2048}
STEP = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 2048}

HELPFUL = "You are a helpful assistant."
OMNI_SYSTEM = (  # without it Qwen2.5-Omni does not speak as intended
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, "
    "capable of perceiving auditory and visual inputs, as well as generating text and speech."
)
GLM_SYSTEM = (  # the missing spaces are part of it
    "User will provide you with a speech instruction. Do it step by step. "
    "First,think about the instruction and respond in a interleaved manner,"
    "with 13 text token followed by 26 audio tokens. "
)
GLM_TEXT = " listen to the audio carefully and respond with only text tokens"  # else it speaks
BAICHUAN_VOICE = "请用【邻家女声】这个声音回答问题。"
OMNI_RECOGNITION = {
    "en": "Transcribe the English audio into text without any punctuation marks.",
    "zh": "请将这段中文语音转换为纯文本，去掉标点符号。",
}


def recognition(language: str, prompt: str) -> Recipes:
    """Return the recipes of speech recognition in a language; ``prompt`` is that of the task."""
    own = {
        "qwen2-audio-base": Recipe(f"Detect the language and recognize the speech: <|{language}|>", decoding=QWEN_BASE),
        "qwen2-audio": Recipe(prompt, HELPFUL, decoding=CUT),
        "baichuan-audio-base": Recipe("将语音转录为文本:", decoding=BAICHUAN_BASE),
        "baichuan-audio": Recipe("将语音转录为文本。", decoding=BAICHUAN),
        "glm-4-voice": Recipe("请写下你听到的语音内容。" + GLM_TEXT, decoding=GLM),
        "step-audio": Recipe("请记录下你所听到的语音内容。", decoding=STEP),
        "whisper": Recipe("", decoding={"language": language, "task": "transcribe"}),
    }
    if language in OMNI_RECOGNITION:
        own["qwen2.5-omni"] = Recipe(
            OMNI_RECOGNITION[language], "You are a speech recognition model.", decoding=OMNI_ASR
        )
    return own


def spoken_question() -> Recipes:
    """Return the recipes of questions that are heard and not written."""
    return {
        "qwen2-audio-base": Recipe(" Your answer to the question is:", decoding=QWEN_BASE),
        "qwen2-audio": Recipe("", decoding=CUT),
        "qwen2.5-omni": Recipe("", HELPFUL, decoding=GREEDY),
        "baichuan-audio-base": Recipe("对音频中的问题，你的回答是:", decoding=BAICHUAN_BASE),
        "baichuan-audio": Recipe(BAICHUAN_VOICE, decoding=BAICHUAN),
        "glm-4-voice": Recipe(GLM_SYSTEM, decoding=GLM),
        "step-audio": Recipe("请回答音频中的问题。", decoding=STEP),
    }


def sound_question() -> Recipes:
    """Return the recipes of written questions about sounds."""
    listen, heard = (
        "Listen to the given audio carefully and answer this question: {text}",
        "请听音频后回答如下问题： {text} ",
    )
    return {
        "qwen2-audio-base": Recipe(f"{listen} Your answer is:", decoding=QWEN_BASE),
        "qwen2-audio": Recipe(f"{listen}.", HELPFUL, decoding=CUT),
        "qwen2.5-omni": Recipe(f"{listen}.", HELPFUL, decoding=GREEDY),
        "baichuan-audio-base": Recipe(f"{heard}你的回答是: ", decoding=BAICHUAN_BASE),
        "baichuan-audio": Recipe(heard.rstrip(), decoding=BAICHUAN),
        "glm-4-voice": Recipe(f"{heard}.", decoding=GLM),
        "step-audio": Recipe(heard, decoding=STEP),
    }


def speech_question() -> Recipes:
    """Return the recipes of written questions about speech or music."""
    return {
        "qwen2-audio-base": Recipe("{text} The answer is:", decoding=QWEN_BASE),
        "qwen2-audio": Recipe("{text}", HELPFUL, decoding=CUT),
        "qwen2.5-omni": Recipe("{text}", OMNI_SYSTEM, decoding=GREEDY),
        "baichuan-audio-base": Recipe("{text} Your answer to this question is:", decoding=BAICHUAN_BASE),
        "baichuan-audio": Recipe("{text}", decoding=BAICHUAN),
        "glm-4-voice": Recipe("{text}" + GLM_TEXT, decoding=GLM),
        "step-audio": Recipe("{text}", decoding=STEP),
    }
