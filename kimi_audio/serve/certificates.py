"""A certificate that a server signs for itself, so that browsers of other machines may use their microphones."""

import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kimi_audio.core.files import write_whole

LIFE_DAYS = 365
RENEW_DAYS = 30  # before it ends
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def default_folder() -> Path:
    """Return where the certificate is kept, so that a browser has to be told only once that it is to be trusted."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "kimi-audio" / "certificate"


def self_signed(host: str, folder: Path) -> tuple[Path, Path]:
    """Return the files of a certificate and of its key, made anew if there are none that are good for the host.

    Args:
        host: that the server listens on.
        folder: where they are kept; nobody else can read the key.

    Raises:
        OSError: they cannot be written.
        RuntimeError: the library that makes them is missing.
    """
    try:
        from cryptography import x509
    except ModuleNotFoundError:
        raise RuntimeError("--ssl needs cryptography; install it with: pip install 'kimi-audio[serve]'") from None
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = _names(host)
    if certificate.is_file() and key.is_file():
        known = x509.load_pem_x509_certificate(certificate.read_bytes())
        left = known.not_valid_after_utc - datetime.now(UTC)
        if left > timedelta(days=RENEW_DAYS) and set(names) <= _names_in(known):
            return certificate, key
    certificate_pem, key_pem = _made(names)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with write_whole(key) as partial:
        partial.chmod(0o600)
        partial.write_bytes(key_pem)
    with write_whole(certificate) as partial:
        partial.write_bytes(certificate_pem)
    return certificate, key


def _names(host: str) -> list[str]:
    """Return what a browser may call the machine."""
    own = [socket.gethostname(), *_addresses()] if host in ("0.0.0.0", "::") else [host]  # noqa: S104 - it is asked for
    return list(dict.fromkeys([*own, *LOCAL_NAMES]))


def _addresses() -> list[str]:
    """Return the address under which this machine is known in its network, if it is in one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address: nothing is sent
        except OSError:
            return []
        return [probe.getsockname()[0]]


def _names_in(certificate: Any) -> set[str]:
    from cryptography import x509

    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name) for kind in (x509.DNSName, x509.IPAddress) for name in found.get_values_for_type(kind)}


def _made(names: list[str]) -> tuple[bytes, bytes]:
    """Return a certificate for some names, and its key, in PEM form."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kimi-audio")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of other machines differ
        .not_valid_after(now + timedelta(days=LIFE_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return certificate.public_bytes(pem), key.private_bytes(pem, *plain)


def _general_name(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
