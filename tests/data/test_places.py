"""Where a line says that a recording is."""

import unicodedata
from pathlib import Path

import pytest

from kimi_audio.data.places import find_recording, refuse_address


@pytest.mark.parametrize("address", ["s3://bucket/a.wav", "https://host/a.wav", "gs://b/a.wav", "file:///a.wav"])
def test_an_address_is_refused_in_one_sentence(address: str):
    for use in (lambda: find_recording(address, Path()), lambda: refuse_address(str(Path(address)))):
        with pytest.raises(ValueError, match=r"is an address: copy") as error:
            use()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("sound", ["data:audio/wav;base64," + "A" * 78_000, "A" * 78_000])
def test_sound_in_the_line_is_named_and_not_printed(sound: str):
    with pytest.raises(ValueError, match=r"(the sound itself is in the line|is no path)") as error:
        find_recording(sound, Path())
    assert len(str(error.value)) < 200


def test_paths_are_taken_as_they_are(tmp_path: Path):
    (tmp_path / "C:a.wav").touch()
    assert find_recording("C:a.wav", tmp_path) == tmp_path / "C:a.wav"
    assert find_recording("missing.wav", tmp_path) == tmp_path / "missing.wav"
    assert find_recording("/abs/a.wav", tmp_path) == Path("/abs/a.wav")
    assert find_recording("ü" * 200, tmp_path) == tmp_path / ("ü" * 200)  # too long for a name


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_line", ["NFC", "NFD"])
def test_accents_are_found_in_either_form(tmp_path: Path, on_disk: str, in_line: str):
    name = "Übung/größe-é.wav"
    file = tmp_path / unicodedata.normalize(on_disk, name)  # pyright: ignore[reportArgumentType]
    file.parent.mkdir()
    file.touch()
    assert find_recording(unicodedata.normalize(in_line, name), tmp_path) == file  # pyright: ignore[reportArgumentType]
    missing = unicodedata.normalize(in_line, "Übung/größe.wav")  # pyright: ignore[reportArgumentType]
    assert find_recording(missing, tmp_path) == tmp_path / missing
