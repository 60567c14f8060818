"""Which commands of README.md and docs are run by a test, word for word, and how one sees that they do what is said.

`WALKS` are pages whose blocks with a `title="terminal N"` are typed into shells (tests/docs/test_walkthrough.py).
`SCENES` are single lines of other blocks, typed while something they need runs (tests/docs/test_lines.py). `ELSEWHERE`
are lines that another test runs, and `LONG` those that take minutes: `make test-long` runs them, CI does not.
"""

from typing import Final

import msgspec

_WALK: Final = "tests/docs/test_walkthrough.py"
WALKS: Final = {
    "docs/quickstart.md": f"{_WALK}::test_the_quickstart_goes_as_its_page_says",
    "docs/failover.md": f"{_WALK}::test_the_failover_demo_goes_as_its_page_says",
}


class Typed(msgspec.Struct, frozen=True):
    """A line of a page.

    Attributes:
        page: where it stands; it may stand on others too.
        line: the line as it stands there, without its comment.
        shows: a pattern that must be in what it prints.
        answers: an address that must answer while it runs.
        goes_on: it does not end by itself. Ctrl-C is pressed once it has shown or answered that.
        stays: like that, but only at the end of the scene.
        drawn: it draws on a terminal, and is told that it is on one.
        in_project: it is typed in the project's folder; otherwise in a scratch folder with the same things in it, in
            which it may write.
    """

    page: str
    line: str
    shows: str = ""
    answers: str = ""
    goes_on: bool = False
    stays: bool = False
    drawn: bool = False
    in_project: bool = False


_README, _PRODUCER, _QUICK = "README.md", "docs/producer.md", "docs/quickstart.md"
_DEPLOY, _SECURITY, _TROUBLE = "docs/runbooks/deployment.md", "docs/security.md", "docs/runbooks/troubleshooting.md"
_MIGRATION = "docs/migration.md"
_REPORT: Final = "curl '127.0.0.1:8080/get_report?symbol=BTCUSDT'"
_DEAD: Final = "kcat -b 127.0.0.1:19092 -C -t nt.binance.dlq -e -f '%h %s\\n'"
_WORKER_2: Final = "127.0.0.1:6067/health"

# Typed while the quickstart's `make demo` runs, one step after the other, the lines of a step side by side.
BESIDE_THE_DEMO: Final = (
    (
        Typed(_README, _REPORT, '"symbol":"BTCUSDT"'),
        Typed(_README, "context8 report BTCUSDT", "micro price"),
        Typed("docs/reader.md", "curl '127.0.0.1:8080/get_report?symbol=BTCUSDT&detail=summary'", '"symbol"'),
        Typed(
            "docs/schemas.md",
            "curl -s '127.0.0.1:8080/get_report?symbol=BTCUSDT' | .venv/bin/python -c 'import json, jsonschema, sys; "
            'jsonschema.validate(json.load(sys.stdin), json.load(open("docs/schemas/report.json")))\'',
        ),
        Typed(_TROUBLE, "curl 127.0.0.1:9081/health", r'"problems":\[\]'),
        Typed(_TROUBLE, "curl 127.0.0.1:6066/health", '"status":"ok"'),
        Typed(_TROUBLE, "curl 127.0.0.1:8080/health", '"status":"ok"'),
        Typed(_TROUBLE, _DEAD),
    ),
    (
        Typed(_README, "context8 watch", "BTCUSDT", goes_on=True, drawn=True),
        Typed(
            _README,
            "kcat -b 127.0.0.1:19092 -C -t nt.binance -o end -f '%k %p:%o %s\\n'",
            r'[A-Z]+USDT \d:\d+ \{"symbol"',
            goes_on=True,
        ),
        Typed(
            "docs/reader.md",
            "curl -N '127.0.0.1:8080/stream?symbols=BTCUSDT,ETHUSDT&fields=mid_price,spread_bps'",
            '"mid_price"',
            goes_on=True,
        ),
        Typed(_README, "context8 worker --web-port 6067", answers=_WORKER_2, goes_on=True),
    ),
    (Typed(_QUICK, 'make run ROLE=worker ARGS="--web-port 6067"', answers=_WORKER_2, goes_on=True, in_project=True),),
)

_EXCHANGE, _PRODUCER_UP = "127.0.0.1:9080/api/v3/ping", "127.0.0.1:9081/health"
_WORKER, _READER = "127.0.0.1:6066/health", "127.0.0.1:8080/health"

# Typed beside a Kafka and a Redis at their usual ports, with BINANCE_HTTP_URL and BINANCE_WS_URL those of the exchange.
THE_PARTS: Final = (
    (
        Typed(_README, "context8 topics", "nt.binance"),
        Typed(_README, "context8 exchange", answers=_EXCHANGE, stays=True),
    ),
    (
        Typed(_README, "context8 producer", answers=_PRODUCER_UP, goes_on=True),
        Typed(_README, "context8 worker", answers=_WORKER, goes_on=True),
        Typed(_README, "context8 reader", answers=_READER, goes_on=True),
        Typed(_README, "context8 record --symbols BTCUSDT --out day.tape.gz", "messages of BTCUSDT", goes_on=True),
    ),
    (
        Typed(_QUICK, "make run ROLE=producer", answers=_PRODUCER_UP, goes_on=True, in_project=True),
        Typed(_QUICK, "make run ROLE=reader", answers=_READER, goes_on=True, in_project=True),
        Typed(_MIGRATION, "REDIS_URL=redis://127.0.0.1:6379/1 context8 worker", answers=_WORKER, goes_on=True),
        Typed(_MIGRATION, "REDIS_URL=redis://127.0.0.1:6379/1 context8 watch", "symbol", goes_on=True, drawn=True),
        Typed(_TROUBLE, "context8 doctor", "kafka"),
        Typed(_SECURITY, "context8 doctor --role worker --json", '"kafka"'),
    ),
    (
        Typed(_MIGRATION, "REDIS_URL=redis://127.0.0.1:6379/0 context8 worker", answers=_WORKER, goes_on=True),
        Typed(
            "docs/clients.md",
            "context8 reader --host 0.0.0.0 --allowed-host reader.example.net",
            answers=_READER,
            goes_on=True,
        ),
        Typed(
            _TROUBLE,
            "context8 record --symbols BTCUSDT --out mismatch.tape.gz --seconds 300",
            "messages of BTCUSDT",
            goes_on=True,
        ),
        Typed(
            _PRODUCER,
            "context8 record --symbols BTCUSDT,ETHUSDT --out day.tape.gz --rotate-minutes 60",
            "messages of 2 symbols",
            goes_on=True,
        ),
    ),
    (
        Typed(
            _PRODUCER,
            "SYMBOLS=BTCUSDT PRODUCER_HTTP_PORT=9081 context8 producer",
            answers=_PRODUCER_UP,
            goes_on=True,
        ),
        Typed(
            _PRODUCER,
            "SYMBOLS=ETHUSDT PRODUCER_HTTP_PORT=9082 context8 producer",
            answers="127.0.0.1:9082/health",
            goes_on=True,
        ),
        Typed(_PRODUCER, "context8 backtest --tape day.BTCUSDT.*.tape.gz day.ETHUSDT.*.tape.gz", "reports"),
    ),
)

# Beside the same Kafka and a Redis that knows only the users of deploy/redis-users.acl.
WITH_USERS: Final = (
    (
        Typed(
            "docs/reader.md",
            "REDIS_URL=redis://reader@127.0.0.1:6379/0 REDIS_PASSWORD_FILE=reader-password context8 reader",
            answers=_READER,
            goes_on=True,
        ),
        Typed(
            "docs/reader.md",
            "REDIS_URL=redis://worker@127.0.0.1:6379/0 REDIS_PASSWORD_FILE=worker-password context8 worker",
            answers=_WORKER,
            goes_on=True,
        ),
    ),
)

# These need nothing but files, and what the scene before has recorded.
ALONE: Final = (
    (
        Typed(_README, "source .venv/bin/activate"),
        Typed(_PRODUCER, "context8 exchange --port 9080", answers=_EXCHANGE, stays=True),
        Typed(
            _README,
            "context8 backtest --tape ../shared/data/btcusdt_spot.tape.gz --every 1s --out reports.parquet",
            "346 reports",
        ),
        Typed(_README, "context8 scorecard --help", "--seeds"),
    ),
    tuple(
        Typed(_PRODUCER, f"curl 127.0.0.1:9080/faults -d '{fault}'", "injected")
        for fault in (
            '{"fault":"lose","stream":"btcusdt@depth@100ms","count":3}',
            '{"fault":"half_open"}',
            '{"fault":"stall","stream":"btcusdt@depth@100ms"}',
            '{"fault":"refuse","status":429,"retry_after":30,"count":5}',
        )
    ),
    (Typed(_README, "context8 plot reports.parquet", "reports.html"),),
)
EXCHANGES: Final = (
    (
        Typed(
            _PRODUCER,
            "context8 exchange --tape day.BTCUSDT.0001.tape.gz",
            answers=_EXCHANGE,
            goes_on=True,
        ),
    ),
    (
        Typed(
            _PRODUCER,
            "context8 exchange --scenario spoofing@90s,flash_crash@3m:ETHUSDT --truth truth.jsonl",
            answers=_EXCHANGE,
            goes_on=True,
        ),
    ),
)

_FIRST_REPORT: Final = "127.0.0.1:8080/get_report?symbol=BTCUSDT"
DEMOS: Final = (
    Typed(_README, "make demo DEMO_SECONDS=40", "data_age P95", in_project=True),
    Typed(
        _README,
        "make demo TAPE=../shared/data/btcusdt_spot.tape.gz",
        answers=_FIRST_REPORT,
        goes_on=True,
        in_project=True,
    ),
    Typed(
        _README,
        "make demo WORKERS=3 SYMBOLS=BTCUSDT,ETHUSDT,SOLUSDT",
        answers="127.0.0.1:6068/health",
        goes_on=True,
        in_project=True,
    ),
    Typed(
        _README,
        "make demo PORT_BASE=20000",
        answers="127.0.0.1:20000/get_report?symbol=BTCUSDT",
        goes_on=True,
        in_project=True,
    ),
    Typed(_README, "context8 demo --scenario spoofing@90s", r"BTCUSDT.*w1", goes_on=True, drawn=True),
    Typed(
        "docs/runbooks/monitoring.md",
        "make demo OBSERVE=1",
        r"http://127\.0\.0\.1:\d+/(classic/)?alerts",
        goes_on=True,
        in_project=True,
    ),
)

# Typed one after the other into two terminals: the second ends the older of two workers, and the table goes on.
TAKEOVER: Final = (
    Typed(_README, "make demo WORKERS=2", in_project=True),
    Typed(_README, "pkill -9 -o -f 'app worker'", in_project=True),
)

_OF_SECURITY: Final = (
    "tests/system/test_security_page.py::test_with_its_commands_and_settings_the_doctor_is_content_and_everybody_works"
)
# Typed in a network of its own it could only say that it cannot ask for vulnerabilities, and end with that.
_OF_AUDIT: Final = (
    "tests/app/test_security_audit.py::test_the_projects_licences_are_allowed_and_no_network_is_said_in_one_line"
)
_OF_COMPOSE: Final = (
    "tests/deploy/test_compose.py::test_the_script_makes_all_that_is_needed_once_and_keeps_what_is_there"
)
# Pages whose commands of these programs another test runs, with ports and folders of its own.
ELSEWHERE: Final = {
    (_SECURITY, "openssl"): _OF_SECURITY,
    (_SECURITY, "kafka-configs.sh"): _OF_SECURITY,
    (_SECURITY, "redis-server"): _OF_SECURITY,
    (_SECURITY, "make"): _OF_AUDIT,
    (_QUICK, "scripts/compose-secrets"): _OF_COMPOSE,
    (_DEPLOY, "scripts/compose-secrets"): _OF_COMPOSE,
}

# Minutes each; those that measure say nothing beside other tests.
LONG: Final = (
    Typed(_README, "make test", "passed", in_project=True),
    Typed("docs/failover.md", "make schedules SCHEDULES=3", "passed", in_project=True),
    Typed("docs/failover.md", 'make bench-failover ARGS="--times 2 --only kill-16"', "kill-16", in_project=True),
    Typed("docs/performance.md", "make soak SECONDS=300 SEED=5", "Violations: none", in_project=True),
    Typed("docs/capacity.md", 'make bench-load ARGS="--symbols 10 --seconds 30"', in_project=True),
    Typed("docs/capacity.md", "make bench-growth", in_project=True),
    Typed(
        "docs/detectors.md",
        "context8 scorecard --seeds 1024-1071 --tape ../shared/data/btcusdt_spot.tape.gz --out docs/detectors.md",
    ),
    Typed(_PRODUCER, "python -m producer.soak --symbols 10,25,50,100 --seconds 60", "100 × 200"),
    Typed(_PRODUCER, "python -m producer.soak --symbols 100 --producers 3 --seconds 600", "100 × 200"),
)

_SCENES: Final = (BESIDE_THE_DEMO, THE_PARTS, WITH_USERS, ALONE, EXCHANGES, (DEMOS, TAKEOVER))
PLAYED: Final = tuple(each for scene in _SCENES for step in scene for each in step)
