import pytest

from report_server.security import HostError, transport_security


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_a_reader_on_loopback_accepts_every_loopback_name(host: str) -> None:
    accepted = transport_security(host, []).allowed_hosts

    assert {"127.0.0.1:*", "localhost:*", "[::1]:*"} <= set(accepted)


def test_a_reader_on_one_address_accepts_that_address_and_no_loopback_name() -> None:
    security = transport_security("10.1.2.3", [])

    assert security.allowed_hosts == ["10.1.2.3", "10.1.2.3:*"]
    assert "http://10.1.2.3:*" in security.allowed_origins


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_reader_on_all_addresses_has_to_be_told_its_names(host: str) -> None:
    with pytest.raises(HostError, match="--allowed-host"):
        transport_security(host, [])

    assert "reader.internal:*" in transport_security(host, ["reader.internal"]).allowed_hosts


def test_a_name_with_a_port_is_accepted_with_that_port_only() -> None:
    assert transport_security("10.1.2.3", ["reader:8080"]).allowed_hosts[2:] == ["reader:8080"]


def test_an_ipv6_address_is_accepted_in_brackets() -> None:
    assert transport_security("2001:db8::7", []).allowed_hosts == ["[2001:db8::7]", "[2001:db8::7]:*"]


def test_protection_is_never_off() -> None:
    assert transport_security("0.0.0.0", ["reader"]).enable_dns_rebinding_protection
