"""What a single setting cannot say of itself: which do not go together, and which files cannot be used."""

import ssl
from typing import TYPE_CHECKING

from app.security import tls
from app.security.redis_address import redis_address

if TYPE_CHECKING:
    from app.settings import Settings


def contradiction(settings: "Settings") -> str | None:
    """Return in one line which settings do not go together, `None` if all do."""
    if settings.down_after_ms <= settings.degraded_after_ms:
        allowed = f"more than DEGRADED_AFTER_MS={settings.degraded_after_ms}"
        return f"DOWN_AFTER_MS={settings.down_after_ms} is not allowed: {allowed}"
    try:
        address = redis_address(settings.redis_url)
    except ValueError as error:
        return f"REDIS_URL is not allowed: {error}"
    if settings.redis_ca_file and not address.tls:
        return "REDIS_CA_FILE is not allowed with a REDIS_URL of redis://: rediss:// or rediss+sentinel://"
    if settings.redis_sentinel_password and not address.master:
        return "REDIS_SENTINEL_PASSWORD is not allowed with a REDIS_URL without Sentinels: redis+sentinel://"
    return _kafka_contradiction(settings)


def _kafka_contradiction(settings: "Settings") -> str | None:
    protocol = f"KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}"
    login = {"KAFKA_USERNAME": settings.kafka_username, "KAFKA_PASSWORD": settings.kafka_password}
    files = {
        "KAFKA_CA_FILE": settings.kafka_ca_file,
        "KAFKA_CERT_FILE": settings.kafka_cert_file,
        "KAFKA_KEY_FILE": settings.kafka_key_file,
    }
    for name, value in login.items():
        if settings.kafka_uses_sasl and not value:
            return f"{protocol} is not allowed without {name}"
        if value and not settings.kafka_uses_sasl:
            return f"{name} is not allowed with {protocol}: SASL_SSL or SASL_PLAINTEXT"
    for name, value in files.items():
        if value and not settings.kafka_uses_tls:
            return f"{name} is not allowed with {protocol}: SASL_SSL or SSL"
    if bool(settings.kafka_cert_file) != bool(settings.kafka_key_file):
        return "KAFKA_CERT_FILE and KAFKA_KEY_FILE are allowed only together"
    return None


def unusable_file(settings: "Settings") -> str | None:
    """Return in one line which file of certificates cannot be used, `None` if all can."""
    for name in ("kafka_ca_file", "redis_ca_file"):
        file = getattr(settings, name)
        if file and (why := _unusable(file)):
            return f"{name.upper()}={file!r} is not allowed: certificates in PEM: {why}"
    cert, key = settings.kafka_cert_file, settings.kafka_key_file
    if cert and key and (why := _unusable(None, cert, key)):
        allowed = "a certificate in PEM and its key, without a pass phrase"
        return f"KAFKA_CERT_FILE={cert!r} with KAFKA_KEY_FILE={key!r} is not allowed: {allowed}: {why}"
    return None


def _unusable(ca_file: str | None, cert_file: str | None = None, key_file: str | None = None) -> str | None:
    try:
        tls.client_context(ca_file, cert_file, key_file)
    except ssl.SSLError as error:
        return (error.reason or "no certificate in it").lower().replace("_", " ")
    except OSError as error:
        return error.strerror or "cannot be read"
    return None
