"""Rates and exact conversions between the time grids of Kimi-Audio.

One semantic token spans 80 ms: 1280 samples of 16 kHz input, 8 Whisper mel frames (100 Hz), 4 encoder frames
(50 Hz), 4 synthesis mel frames (50 Hz) and 1920 samples of 24 kHz output.
"""

INPUT_RATE_HZ = 16_000  # what the encoders hear
OUTPUT_RATE_HZ = 24_000  # what the vocoder makes
WINDOW_S = 30  # the encoders see at most this much at once


def exact_div(numerator: int, denominator: int) -> int:
    """Return numerator / denominator, which must be whole."""
    quotient, remainder = divmod(numerator, denominator)
    if remainder:
        raise ValueError(f"{numerator} is not a multiple of {denominator}")
    return quotient


SAMPLES_PER_WINDOW = WINDOW_S * INPUT_RATE_HZ  # 480,000
SAMPLES_PER_WHISPER_FRAME = 160  # 10 ms per mel frame
SAMPLES_PER_ENCODER_FRAME = 2 * SAMPLES_PER_WHISPER_FRAME  # 20 ms, after the stride-2 convolution
ENCODER_FRAMES_PER_TOKEN = 4  # average pooling, or concatenation, to 12.5 Hz
SAMPLES_PER_TOKEN = ENCODER_FRAMES_PER_TOKEN * SAMPLES_PER_ENCODER_FRAME  # 1280
TOKENS_PER_WINDOW = exact_div(SAMPLES_PER_WINDOW, SAMPLES_PER_TOKEN)  # 375

MEL_FRAMES_PER_TOKEN = 4  # the detokenizer repeats each token to 50 Hz
OUTPUT_SAMPLES_PER_MEL_FRAME = 480  # 20 ms at 24 kHz
OUTPUT_SAMPLES_PER_TOKEN = MEL_FRAMES_PER_TOKEN * OUTPUT_SAMPLES_PER_MEL_FRAME  # 1920


def tokens_in_window(samples: int) -> int:
    """Return the number of 12.5 Hz tokens of one window of ``samples`` at 16 kHz, a begun token counting whole."""
    return -(-samples // SAMPLES_PER_TOKEN)


def tokens_in_audio(samples: int) -> int:
    """Return the number of 12.5 Hz tokens of a recording, which is cut into windows of 30 s first."""
    full, rest = divmod(samples, SAMPLES_PER_WINDOW)
    return full * TOKENS_PER_WINDOW + tokens_in_window(rest)
