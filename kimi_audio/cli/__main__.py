"""``python -m kimi_audio.cli``."""

from kimi_audio.cli import main

if __name__ == "__main__":
    main()
