"""Audits what is locked in requirements/: bills of materials, licences, known vulnerabilities. `make audit`.

Bills of materials (CycloneDX, one for each role) go to dist/ and, like licences, need no network: they come from the
locks and from the metadata of installed packages. Vulnerabilities are asked of OSV, by pip-audit; where OSV cannot be
reached that part is left out, which one line and the exit code say.

Exit codes: 0 nothing found, 1 a vulnerability or a licence that is not allowed, 3 all well but vulnerabilities could
not be looked up (make turns any code but 0 into its own 2).
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from license_expression import ExpressionError, Licensing

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
ROLES = ("producer", "worker", "reader")
OSV_URL = "https://api.osv.dev/v1/query"
FOUND, NOT_LOOKED_UP = 1, 3

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)
_REACH_SEC = 5.0
_licensing = Licensing()


def main() -> int:
    """Run every part and return the exit code."""
    parser = argparse.ArgumentParser(description="Audit the locked packages.")
    parser.add_argument("--locks", type=Path, default=ROOT / "requirements", help="folder of the locks")
    parser.add_argument("--licences", type=Path, default=ROOT / "scripts" / "licences.toml", help="what is allowed")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for bills of materials")
    parser.add_argument("--osv-url", default=OSV_URL, help="where vulnerabilities are asked for")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for role in ROLES:
        count = write_bill(args.locks / f"{role}.txt", args.out / f"sbom-{role}.cdx.json")
        print(f"  ✓ {role + ':':10} {count} packages in {args.out.name}/sbom-{role}.cdx.json")
    problems = list(licence_problems(args.locks, tomllib.loads(args.licences.read_text(encoding="utf-8"))))
    for problem in problems:
        print(f"  ✗ licence: {problem}")
    if not problems:
        print("  ✓ licences:  all allowed")
    vulnerable = vulnerabilities(args.locks / "dev.txt", args.osv_url)
    if problems or vulnerable:
        return FOUND
    return NOT_LOOKED_UP if vulnerable is None else 0


def write_bill(lock: Path, bill: Path) -> int:
    """Write the bill of materials of one lock, the same bytes for the same lock; return how many packages it lists."""
    made: list[str | Path] = ["--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "-o", bill]
    done = _run("cyclonedx-py", "requirements", *made, lock)
    if done.returncode:
        sys.exit(f"audit: no bill of materials for {lock.name}: {done.stderr.strip()}")
    return len(json.loads(bill.read_text(encoding="utf-8"))["components"])


def licence_problems(locks: Path, rules: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each package whose licence is not allowed; packages of other systems are not installed here."""
    shipped = {name for role in ROLES for name in pinned(locks / f"{role}.txt")}
    for name in sorted(shipped | set(pinned(locks / "dev.txt"))):
        try:
            said = licence_of(name, rules["names"])
        except metadata.PackageNotFoundError:
            continue
        exception = rules["packages"].get(name)
        if exception and exception["licence"] == said and (exception["shipped"] or name not in shipped):
            continue
        if not is_allowed(said, set(rules["allowed"])):
            where = "shipped" if name in shipped else "for development"
            yield f"{name} ({where}) is under {said or 'a licence that it does not name'}: see scripts/licences.toml"


def pinned(lock: Path) -> dict[str, str]:
    """Return the versions in a lock by package."""
    return dict(_PINNED.findall(lock.read_text(encoding="utf-8")))


def licence_of(name: str, names: Mapping[str, str]) -> str:
    """Return what the installed package says its licence is, in SPDX's words where we know them."""
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return expression
    kinds = [line.removeprefix("License :: ") for line in about.get_all("Classifier", []) if line.startswith("License")]
    said = [kind for kind in kinds if "::" in kind or kind in names] or [about.get("License") or ""]
    return " AND ".join(names.get(each, each) for each in said if not each.startswith("DFSG"))


def is_allowed(licence: str, allowed: set[str]) -> bool:
    """Whether all licences of an expression are allowed, or of alternatives one."""
    try:
        expression = _licensing.parse(licence)
    except ExpressionError:
        return False
    return expression is not None and _holds(expression, allowed)


def _holds(expression: Any, allowed: set[str]) -> bool:
    parts = [_holds(part, allowed) for part in expression.args]
    if not parts:
        return expression.key in allowed
    return any(parts) if isinstance(expression, _licensing.OR) else all(parts)


def vulnerabilities(lock: Path, osv_url: str) -> bool | None:
    """Print known vulnerabilities of the locked packages; return whether there are any, `None` if nobody can say."""
    try:
        urlopen(osv_url, timeout=_REACH_SEC).close()  # noqa: S310 - ours, or given by whoever runs this
    except HTTPError as answer:
        answer.close()  # it wants a question; pip-audit has one
    except OSError as error:
        reason = getattr(error, "reason", error)
        print(f"  ! vulnerabilities: not looked up, {osv_url} cannot be reached ({reason})")
        return None
    locked: list[str | Path] = ["--requirement", lock, "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    service = ["--vulnerability-service=osv", "--osv-url", osv_url, "--format=json", "--desc=off"]
    done = _run("pip-audit", *locked, *service)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"  ! vulnerabilities: not looked up, {osv_url} gave no answer that can be used ({last})")
        return None
    known = [(each, vuln) for each in packages for vuln in each.get("vulns", ())]
    for each, vuln in known:
        fixed = ", ".join(vuln["fix_versions"]) or "nothing yet"
        print(f"  ✗ vulnerability: {each['name']} {each['version']}: {vuln['id']}, mended in {fixed}")
    if not known:
        print(f"  ✓ vulnerabilities: none known in {len(packages)} packages")
    return bool(known)


def _run(program: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([BIN / program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
