"""Certificates of an authority of the tests' own."""

import dataclasses
import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclasses.dataclass(frozen=True)
class Identity:
    """PEM files of a private key and its certificate."""

    key: Path
    cert: Path


def issue(folder: Path, name: str, authority: Identity | None = None) -> Identity:
    """A certificate for `localhost` under that name, signed by `authority`, or an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    signing_key, issuer = key, subject
    if authority is not None:
        signing_key = serialization.load_pem_private_key(authority.key.read_bytes(), None)
        issuer = x509.load_pem_x509_certificate(authority.cert.read_bytes()).subject
    certificate = builder.issuer_name(issuer).sign(signing_key, hashes.SHA256())
    identity = Identity(folder / f"{name}.key", folder / f"{name}.crt")
    identity.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    identity.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return identity
