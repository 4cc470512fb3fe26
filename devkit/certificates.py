"""A certificate authority of our own, and server certificates from it: TLS between one development stack's processes.

Made at run time with `cryptography`, kept in the stack's folder, never committed. Keys are written 0600. Whoever
holds the authority's key could impersonate any host to whoever trusts it, so nothing but the stack's own processes is
told to.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_CA_DAYS = 365
_SERVER_DAYS = 30
_RENEW_DAYS = 45
#: Back-dated, because clocks differ between containers.
_EARLIER = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """PEM files: the certificate, its key, and the authority to trust."""

    cert_file: Path
    key_file: Path
    ca_file: Path


def ensure(folder: Path, name: str, hosts: Iterable[str] = ()) -> ServerCertificate:
    """A fresh certificate `name` for localhost and `hosts`, from the folder's authority, which is made if need be.

    The authority stays the same for as long as it lasts, so a restarted server is still trusted by those who run on.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_file, ca_key_file = folder / "ca.pem", folder / "ca.key.pem"
    ca_cert, ca_key = _read(ca_file, ca_key_file) or _make_authority(ca_file, ca_key_file)
    key = generate_private_key(SECP256R1())
    names = list(dict.fromkeys((*LOCAL_NAMES, *hosts)))
    cert = (
        _certificate(name, key, ca_cert.subject, ca_key, _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(digital_signature=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    made = ServerCertificate(folder / f"{name}.pem", folder / f"{name}.key.pem", ca_file)
    _write_key(made.key_file, key)
    made.cert_file.write_bytes(cert.public_bytes(Encoding.PEM))
    return made


def _make_authority(cert_file: Path, key_file: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scoregate development CA")])
    cert = (
        _certificate("scoregate development CA", key, name, key, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(key_file, key)
    cert_file.write_bytes(cert.public_bytes(Encoding.PEM))
    return cert, key


def _certificate(
    common_name: str, key: EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    """What every certificate has; with both key identifiers, which Python 3.13 asks for."""
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _read(cert_file: Path, key_file: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey] | None:
    """The authority in the folder, unless it is missing, unreadable or about to expire."""
    try:
        cert = x509.load_pem_x509_certificate(cert_file.read_bytes())
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    left = cert.not_valid_after_utc - dt.datetime.now(dt.UTC)
    if not isinstance(key, EllipticCurvePrivateKey) or left < dt.timedelta(days=_RENEW_DAYS):
        return None
    return cert, key


def _write_key(file: Path, key: EllipticCurvePrivateKey) -> None:
    file.unlink(missing_ok=True)
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as stream:
        stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
