"""Let nano answer three of its questions, for README.md: ``python docs/sounds/make.py``.

Writes ``question-1.ogg`` and ``answer-1.ogg`` to ``question-3.ogg`` and ``answer-3.ogg`` beside this file, and prints
the rows of the table.
"""

from pathlib import Path

from kimi_audio import KimiAudio, Message, load_audio, save_audio
from kimi_audio.cli.replies import bundled_questions

FOLDER = Path(__file__).parent
RATE_HZ = 24_000


def main() -> None:
    """Write the sounds and print the table."""
    model = KimiAudio.from_pretrained("nano")
    for number, question in enumerate(bundled_questions(model.folder)[:3], 1):
        answer = model.answer([Message("user", "audio", question)], "both", seed=0)
        if answer.audio is None:
            raise ValueError(f"nano says nothing to {question.name}")
        save_audio(FOLDER / f"question-{number}.ogg", load_audio(question, RATE_HZ), RATE_HZ)
        save_audio(FOLDER / f"answer-{number}.ogg", answer.audio, RATE_HZ)
        asked, said = (f"[play](docs/sounds/{name}-{number}.ogg)" for name in ("question", "answer"))
        print(f"| “{model.transcribe(question)}” {asked} | “{answer.text}” {said} |")


if __name__ == "__main__":
    main()
