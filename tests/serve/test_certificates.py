"""``--ssl``: the server vouches for itself."""

import ssl
import sys
import urllib.request
from pathlib import Path

import pytest
from serve_fakes import FakeAssistant, running

from kimi_audio.serve import certificates
from kimi_audio.serve.certificates import default_folder, self_signed


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    return self_signed("127.0.0.1", tmp_path / "kept")


def test_a_client_that_trusts_the_certificate_gets_in(files):
    certificate, key = files
    with running(FakeAssistant(), certificate=certificate, private_key=key) as address:
        trusting = ssl.create_default_context(cafile=str(certificate))
        for name in ("127.0.0.1", "localhost"):
            url = f"https://{name}:{address.split(':')[1]}/livez"
            assert urllib.request.urlopen(url, context=trusting).read() == b"ok\n"
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(url, context=ssl.create_default_context())


def test_it_is_made_once_and_its_key_is_private(files, tmp_path):
    certificate, key = files
    before = certificate.read_bytes()
    assert self_signed("127.0.0.1", tmp_path / "kept") == files
    assert certificate.read_bytes() == before
    assert key.stat().st_mode & 0o077 == 0
    self_signed("talk.example", tmp_path / "kept")  # a name that it does not know yet
    assert certificate.read_bytes() != before


def test_it_is_renewed_before_it_ends(files, tmp_path, monkeypatch):
    certificate, _ = files
    before = certificate.read_bytes()
    monkeypatch.setattr(certificates, "RENEW_DAYS", certificates.LIFE_DAYS + 1)
    self_signed("127.0.0.1", tmp_path / "kept")
    assert certificate.read_bytes() != before


def test_the_library_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(RuntimeError, match=r"kimi-audio\[serve\]"):
        self_signed("127.0.0.1", tmp_path)


def test_it_is_kept_with_what_can_be_made_again(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder().is_relative_to(tmp_path)
