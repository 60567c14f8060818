"""How every client of ours connects to Kafka, and whether the brokers let us in.

aiokafka swallows the reason of a failed connection and says only that it could not bootstrap, over and over. So before
the first connection of a process, `require_kafka` connects to the brokers itself: who is refused (for a password, a
certificate, a protocol) has to change a setting and is told which, in one line; who finds nobody waits.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from typing import Any, Final, Self

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from app.kafka_connections import REQUEST_MS
from app.security import tls
from app.security.errors import AccessError
from app.security.secret import Secret, revealed
from app.settings import Settings

PLAINTEXT: Final[Mapping[str, Any]] = {"security_protocol": "PLAINTEXT"}


def kafka_client(config: Settings) -> dict[str, Any]:
    """Return the arguments that every aiokafka client takes: where the brokers are, how to get in, how long to wait."""
    return {
        "bootstrap_servers": config.kafka_brokers,
        "request_timeout_ms": REQUEST_MS,
        **kafka_security(config),
    }


def answer_soon(producer: Any) -> None:
    """Let an aiokafka producer that is not started yet wait `REQUEST_MS` for a broker, and keep records for longer.

    Its own `request_timeout_ms` is both: how long it waits, and how old a record may get that is tried again and again.
    """
    producer.client._request_timeout_ms = REQUEST_MS


def kafka_security(config: Settings) -> dict[str, Any]:
    """Return how to get in, as arguments of any aiokafka client."""
    options: dict[str, Any] = {"security_protocol": config.kafka_security_protocol}
    if config.kafka_uses_tls:
        options["ssl_context"] = tls.client_context(config.kafka_ca_file, config.kafka_cert_file, config.kafka_key_file)
    if config.kafka_uses_sasl:
        # At DEBUG it writes every request down as it is sent, with PLAIN that is the password.
        logging.getLogger("aiokafka.conn").setLevel(logging.INFO)
        options |= {
            "sasl_mechanism": config.kafka_sasl_mechanism,
            "sasl_plain_username": config.kafka_username,
            "sasl_plain_password": _Password(config.kafka_password),
        }
    return options


class _Password(str):
    """A password for aiokafka, which keeps it for the life of a client, and encodes it for each SCRAM login.

    So what is encoded is the secret as it is then. With PLAIN it is not encoded by itself: there a client goes on
    showing what it was given.
    """

    _secret: Secret

    def __new__(cls, secret: Secret | None) -> Self:
        """Return the text of `secret` as it is now."""
        made = super().__new__(cls, revealed(secret) or "")
        made._secret = secret or Secret("")
        return made

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the secret as it is now, in bytes."""
        return self._secret.reveal().encode(encoding, errors)


def faust_credentials(config: Settings) -> Any:
    """Return the same as Faust's `broker_credentials`, `None` where there is nothing to show."""
    import faust

    options = kafka_security(config)
    if config.kafka_uses_sasl:
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=options.get("ssl_context"),
            mechanism=options["sasl_mechanism"],
        )
    return faust.SSLCredentials(options["ssl_context"]) if config.kafka_uses_tls else None


async def require_kafka(brokers: str, security: Mapping[str, Any]) -> None:
    """Connect to the first broker that answers and leave again.

    Raises:
        AccessError: a broker refuses us, and none lets us in.
        KafkaError, OSError: none answers.
    """
    refused: AccessError | None = None
    away: Exception | None = None
    for address in brokers.split(","):
        host, _, port = address.rpartition(":")
        try:
            await _look_in(host, int(port), security)
        except (KafkaError, OSError) as error:
            why = _refusal(error, security)
            if why:
                refused = AccessError(f"KAFKA_BROKERS={brokers}: {address}: {why}")
            else:
                away = _hinted(error, address, security)
        else:
            return
    raise refused or away or KafkaConnectionError("no broker is named")


async def _look_in(host: str, port: int, security: Mapping[str, Any]) -> None:
    connection = AIOKafkaConnection(host, port, request_timeout_ms=REQUEST_MS, **security)
    try:
        await connection.connect()
        # Who has connected is not in yet: certificates are looked at with the first request, users asked for.
        await connection.send(MetadataRequest([]))
    finally:
        await _leave(connection)


async def _leave(connection: AIOKafkaConnection) -> None:
    """Close without waiting for the broker's goodbye: with TLS that takes as long as it likes, up to 30 s."""
    closed = connection.close()
    protocol = connection._protocol
    if protocol is not None and protocol._transport is not None:
        protocol._transport.abort()
        await closed


def kafka_refusal(config: Settings) -> str | None:
    """Return in one line why no broker will ever let us in, `None` if one does or none answers; takes some 3 s."""
    try:
        asyncio.run(require_kafka(config.kafka_brokers, kafka_security(config)))
    except AccessError as error:
        return str(error)
    except (KafkaError, OSError):
        return None
    return None


def lacks_right(config: Settings, error: Exception) -> str | None:
    """Return in one line that our user may not do what it tried, `None` if `error` says anything else."""
    if not isinstance(
        error, TopicAuthorizationFailedError | GroupAuthorizationFailedError | ClusterAuthorizationFailedError
    ):
        return None
    user = f"the user {config.kafka_username!r}" if config.kafka_username else "who we are there"
    what = str(error).partition(": ")[2] or type(error).__name__
    return f"KAFKA_BROKERS={config.kafka_brokers}: {user} lacks a right ({what}): give it those of docs/security.md"


def _refusal(error: Exception, security: Mapping[str, Any]) -> str | None:
    protocol = f"KAFKA_SECURITY_PROTOCOL={security['security_protocol']}"
    mechanism = f"KAFKA_SASL_MECHANISM={security.get('sasl_mechanism')}"
    match error:
        case SaslAuthenticationFailed() | AuthenticationFailedError():
            user = f"the user {security['sasl_plain_username']!r} or its password is refused"
            return f"{user}: check KAFKA_USERNAME, KAFKA_PASSWORD and that the user has {mechanism}"
        case UnsupportedSaslMechanismError():
            return f"{mechanism} is not one that it takes: use one of its own, or enable this one there"
        case IllegalSaslStateError():
            return f"it wants no user at that port: check the port and {protocol}"
    return tls.explained(error, "KAFKA_CA_FILE", protocol)


def _hinted(error: Exception, address: str, security: Mapping[str, Any]) -> Exception:
    """Name the likely cause where a broker takes the connection and then says nothing or hangs up."""
    if isinstance(error, KafkaConnectionError | ConnectionResetError | ssl.SSLError):
        protocol = f"KAFKA_SECURITY_PROTOCOL={security['security_protocol']}"
        error = KafkaConnectionError(f"{address} hangs up on us: it is starting, or {protocol} does not fit that port")
    return error
