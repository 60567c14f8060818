"""`make audit` as it runs: on the project's locks, without a network, and against a service of vulnerabilities here."""

import http.server
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from app.stack.ports import free_ports

ROOT = Path(__file__).parents[2]
ROLES = ("producer", "worker", "reader")


@pytest.fixture(scope="module")
def audit() -> Any:
    """Give the script as a module."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nobody() -> str:
    (port,) = free_ports(1)
    return f"http://127.0.0.1:{port}/v1/query"


@contextmanager
def service_of_vulnerabilities(known: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """A service that speaks OSV's protocol and knows these vulnerabilities, by package."""

    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(405)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"vulns": known.get(asked["package"]["name"], [])}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """Give a folder of locks with two packages that are installed here."""
    folder = tmp_path / "locks"
    folder.mkdir()
    lines = [f"{name}=={metadata.version(name)} \\\n    --hash=sha256:{'0' * 64}\n" for name in ("redis", "msgspec")]
    for name in (*ROLES, "dev"):
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


def test_the_projects_licences_are_allowed_and_no_network_is_said_in_one_line(tmp_path: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        ROOT / "scripts" / "audit.py",
        "--out",
        tmp_path,
        "--osv-url",
        nobody(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "✓ licences:  all allowed" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("  ! vulnerabilities: not looked up, http://127.0.0.1:")
    for role in ROLES:
        bill = json.loads((tmp_path / f"sbom-{role}.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX"
        assert bill["metadata"]["component"]["name"] == "context8"
        lock = (ROOT / "requirements" / f"{role}.txt").read_text()
        assert {f"{each['name']}=={each['version']}" in lock for each in bill["components"]} == {True}
        assert len(bill["components"]) == lock.count("==") - lock.count("'==") - lock.count(" == '")


def test_the_same_lock_gives_the_same_bill(audit: Any, tmp_path: Path, locks: Path) -> None:
    for name in ("one", "two"):
        assert audit.write_bill(locks / "worker.txt", tmp_path / name) == 2
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_licence_that_is_not_allowed_is_named(audit: Any, locks: Path) -> None:
    (problem,) = audit.licence_problems(locks, {"allowed": ["MIT"], "names": {}, "packages": {}})
    assert problem == "msgspec (shipped) is under BSD-3-Clause: see scripts/licences.toml"


@pytest.mark.parametrize(
    ("licence", "shipped", "problems"), [("BSD-3-Clause", True, 0), ("GPL-3.0", True, 1), ("BSD-3-Clause", False, 1)]
)
def test_an_exception_holds_for_the_licence_and_the_use_that_it_names_only(
    audit: Any, locks: Path, licence: str, shipped: bool, problems: int
) -> None:
    exception = {"licence": licence, "shipped": shipped, "why": ""}
    rules = {"allowed": ["MIT"], "names": {}, "packages": {"msgspec": exception}}
    assert len(list(audit.licence_problems(locks, rules))) == problems


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [("MIT", True), ("MIT AND GPL-3.0", False), ("MIT OR GPL-3.0", True), ("", False), ("what( ever", False)],
)
def test_of_alternatives_one_must_be_allowed_and_else_all(audit: Any, licence: str, allowed: bool) -> None:
    assert audit.is_allowed(licence, {"MIT"}) is allowed


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it(
    audit: Any, locks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]
    affected = [{"package": {"name": "redis", "ecosystem": "PyPI"}, "ranges": ranges}]
    with service_of_vulnerabilities(
        {"redis": [{"id": "OSV-1", "summary": "reads too far", "affected": affected}]}
    ) as url:
        assert audit.vulnerabilities(locks / "dev.txt", url) is True
    assert f"✗ vulnerability: redis {metadata.version('redis')}: OSV-1, mended in 99.1" in capsys.readouterr().out


def test_packages_without_known_vulnerabilities_are_counted(
    audit: Any, locks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with service_of_vulnerabilities({}) as url:
        assert audit.vulnerabilities(locks / "dev.txt", url) is False
    assert "✓ vulnerabilities: none known in 2 packages" in capsys.readouterr().out
