"""Words of any script, as an error rate counts them; the transcript form itself is tested with nano's word list."""

import pytest

from kimi_audio.core.words import words_in_any_script


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It’s 42, Zoë!", ["it's", "forty", "two", "zoe"]),
        ("你好，世界。", ["你", "好", "世", "界"]),
        ("请打开 iPhone 的相机", ["请", "打", "开", "iphone", "的", "相", "机"]),
        ("我有3个", ["我", "有", "three", "个"]),
        ("Добрый день!", ["добрый", "день"]),
        ("コーヒーを", ["コ", "ー", "ヒ", "ー", "を"]),
        ("안녕 하세요", ["안녕", "하세요"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("... ?! 。", []),
    ],
)
def test_words_of_any_script(text: str, expected: list[str]):
    assert words_in_any_script(text) == expected
