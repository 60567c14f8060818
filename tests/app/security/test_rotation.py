"""Passwords and certificates in files are those that the files hold when they are shown, not those of the start."""

import asyncio
import ssl
from pathlib import Path

import pytest

from app.security import tls
from app.security.kafka import kafka_security
from app.security.secret import Secret
from app.settings import load
from support.certificates import Authority


def test_a_secret_in_a_file_is_read_whenever_it_is_revealed(tmp_path: Path) -> None:
    file = tmp_path / "word"
    file.write_text("first\n", encoding="utf-8")
    secret = Secret.of_file(file)
    file.write_text("second\n", encoding="utf-8")
    assert secret.reveal() == "second"
    for unusable in ("", "two\nlines\n"):
        file.write_text(unusable, encoding="utf-8")
        assert secret.reveal() == "second"
    file.unlink()
    assert secret.reveal() == "second"


def test_what_aiokafka_encodes_for_a_login_is_the_password_of_that_moment(tmp_path: Path) -> None:
    file = tmp_path / "word"
    file.write_text("first\n", encoding="utf-8")
    config = load(
        {
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_USERNAME": "worker",
            "KAFKA_PASSWORD_FILE": str(file),
        },
        None,
    )
    given = kafka_security(config)["sasl_plain_password"]
    assert (str(given), given.encode("utf-8")) == ("first", b"first")
    file.write_text("second\n", encoding="utf-8")
    assert given.encode("utf-8") == b"second"


async def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Return whose certificate the client showed."""
    shown: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = dict(each[0] for each in writer.get_extra_info("peercert")["subject"])
        shown.set_result(subject["commonName"])
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server) as listening:
        host, port = listening.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(host, port, ssl=client)
        name = await shown
        writer.close()
        return name


def server_context(certificate: Path, key: Path, *authorities: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    for authority in authorities:
        context.load_verify_locations(authority)
    return context


async def test_certificates_that_were_exchanged_are_shown_and_trusted_in_the_next_handshake(tmp_path: Path) -> None:
    old, new = Authority.in_folder(tmp_path, "old"), Authority.in_folder(tmp_path, "new")
    first, second = old.issue("first"), new.issue("second")
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    for source, target in ((old.file, ca), (first.certificate, cert), (first.key, key)):
        target.write_bytes(source.read_bytes())
    client = tls.client_context(str(ca), str(cert), str(key))
    assert await handshake(server_context(first.certificate, first.key, old.file, new.file), client) == "first"
    renewed = server_context(second.certificate, second.key, old.file, new.file)
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=renewed) as listening:
        host, port = listening.sockets[0].getsockname()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(host, port, ssl=client)

    for source, target in ((new.file, ca), (second.certificate, cert), (second.key, key)):
        replace(target, source.read_bytes())

    assert await handshake(renewed, client) == "second"


async def test_files_in_the_middle_of_an_exchange_change_nothing(tmp_path: Path) -> None:
    authority = Authority.in_folder(tmp_path, "authority")
    issued = authority.issue("issued")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.file.read_bytes())
    client = tls.client_context(str(ca), str(issued.certificate), str(issued.key))
    replace(ca, b"-----BEGIN CERT")
    server = server_context(issued.certificate, issued.key, authority.file)
    assert await handshake(server, client) == "issued"
    ca.unlink()
    assert await handshake(server, client) == "issued"


def replace(file: Path, content: bytes) -> None:
    """Write as those do who exchange certificates: another file under the same name."""
    other = file.with_suffix(".other")
    other.write_bytes(content)
    other.replace(file)
