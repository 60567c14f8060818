"""Which commands of README.md and docs are run by a test, word for word.

`WALKS` are pages whose blocks with a `title="terminal N"` are typed into shells; `LINES` are single lines of other
pages, typed while the quickstart's demo runs. tests/docs/test_walkthrough.py does both.
"""

from typing import Final

_TESTS: Final = "tests/docs/test_walkthrough.py"
WALKS: Final = {
    "docs/quickstart.md": f"{_TESTS}::test_the_quickstart_goes_as_its_page_says",
    "docs/failover.md": f"{_TESTS}::test_the_failover_demo_goes_as_its_page_says",
}
LINES: Final = (
    ("README.md", "curl '127.0.0.1:8080/get_report?symbol=BTCUSDT'"),
    ("README.md", "context8 report BTCUSDT"),
    ("README.md", "context8 topics"),
    ("docs/reader.md", "curl '127.0.0.1:8080/get_report?symbol=BTCUSDT&detail=summary'"),
    (
        "docs/schemas.md",
        "curl -s '127.0.0.1:8080/get_report?symbol=BTCUSDT' | .venv/bin/python -c 'import json, jsonschema, sys; "
        'jsonschema.validate(json.load(sys.stdin), json.load(open("docs/schemas/report.json")))\'',
    ),
    ("docs/runbooks/troubleshooting.md", "curl 127.0.0.1:9081/health"),
    ("docs/runbooks/troubleshooting.md", "curl 127.0.0.1:6066/health"),
    ("docs/runbooks/troubleshooting.md", "curl 127.0.0.1:8080/health"),
)
