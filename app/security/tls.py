"""TLS contexts, and handshakes that failed in words that say what to check.

Certificates are always verified, names too; there is no setting that turns it off. A server with a certificate of its
own making is trusted by naming that certificate, or the authority that made it, as CA file.
"""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

# OpenSSL's X509_V_ERR_*, of which Python names none.
_VERIFY: Final = {
    9: "its certificate is not valid yet: check the clocks of both sides",
    10: "its certificate has expired: the server needs a new one (or a clock is wrong)",
    18: "its certificate is of its own making: name it, or its authority, in {ca}",
    19: "its certificate is of an authority that {ca} does not hold",
    20: "its certificate is of an authority that {ca} does not hold",
    21: "its certificate is of an authority that {ca} does not hold",
    62: "its certificate is for another host name: use a name that is in the certificate",
    64: "its certificate is for another address: use a name or address that is in the certificate",
}
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")


def client_context(ca_file: str | None, cert_file: str | None = None, key_file: str | None = None) -> ssl.SSLContext:
    """Return a context that trusts `ca_file`, or else what the machine trusts, and may show a certificate.

    Raises:
        OSError: a file cannot be read.
        ssl.SSLError: a file holds no PEM certificate, or no key that belongs to it and needs no pass phrase.
    """
    context = _ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    usual = ssl.create_default_context(cafile=ca_file)
    context.options, context.verify_flags = usual.options, usual.verify_flags
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_files(ca_file, cert_file, key_file)
    return context


class _ClientContext(ssl.SSLContext):
    """A context that reads its files again for the next handshake after they have changed.

    What it trusted it goes on trusting: OpenSSL adds authorities to a context and takes none away.
    """

    def load_files(self, ca_file: str | None, cert_file: str | None, key_file: str | None) -> None:
        self._files = (ca_file, cert_file, key_file)
        self._seen = self._changes()
        if ca_file:
            self.load_verify_locations(ca_file)
        else:
            self.load_default_certs()
        if cert_file:
            # Without a pass phrase here OpenSSL would ask for one on the terminal, and wait.
            self.load_cert_chain(cert_file, key_file, password=lambda: "")

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Begin a handshake, as asyncio and uvloop do."""
        # Files that cannot be used now may be in the middle of being written: what was read before still stands.
        with suppress(OSError):
            if self._changes() != self._seen:
                self.load_files(*self._files)
        return super().wrap_bio(*args, **options)

    def _changes(self) -> list[tuple[int, int]]:
        found = [Path(file).stat() for file in self._files if file]
        return [(each.st_mtime_ns, each.st_ino) for each in found]


def explained(error: BaseException, ca: str, protocol: str) -> str | None:
    """Return why a handshake failed for good, `None` if `error` comes from anything else.

    Args:
        error: what a client raised, the TLS error itself or somewhere behind it.
        ca: the setting that names the CA file.
        protocol: the setting, with its value, that asks for TLS.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            said = _VERIFY.get(cause.verify_code, f"its certificate is refused: {cause.verify_message}")
            return said.format(ca=ca)
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or ""
            if reason in _NO_TLS:
                return f"it does not speak TLS at that port: check the port and {protocol}"
            if "ALERT" in reason:
                return f"it refuses the handshake ({reason.lower().replace('_', ' ')}): does it want a certificate?"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
