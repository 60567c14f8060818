"""docker-compose.yml started by hand: what it says is enough for reports to come, and all stop cleanly in time."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from support import compose, image_build
from support.compose import PASSWORDS, ROOT
from support.compose_by_hand import OURS
from support.contracts import validate_report

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

# The root cannot be written, as in the containers; what may be is the test's folder and, for Kafka's own, the cache.
_INSIDE = """
mount --bind {folder}/hosts /etc/hosts
mount --bind {folder} {folder}
mount --bind {root}/.cache {root}/.cache
mount -o remount,bind,ro /
if touch {root}/x 2>/dev/null; then exit 9; fi
{python} -c "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 1))"
exec {python} -m support.compose_by_hand {folder}
"""


def test_the_services_as_they_are_written_bring_reports_to_the_reader_and_end_with_0(tmp_path: Path) -> None:
    if why := image_build.missing():
        pytest.skip(why)
    # Each service has an address of its own in Compose; here all of them share one.
    (tmp_path / "hosts").write_text("127.0.0.1 localhost redpanda redis exchange producer worker reader\n")
    inside = _INSIDE.format(folder=tmp_path, root=ROOT, python=sys.executable)
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-e", "-c", inside],
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'mcp'}:{ROOT / 'tests'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    seen = msgspec.json.decode((tmp_path / "seen.json").read_bytes())
    validate_report(seen["report"])
    assert seen["codes"] == dict.fromkeys(OURS, 0)
    for name, used in seen["memory_mb"].items():
        assert used < 0.9 * _limit_mb(name), f"{name}: {used:.0f} MB"


def _limit_mb(name: str) -> int:
    text = compose.services(PASSWORDS)[name]["mem_limit"]
    return int(text[:-1]) * {"m": 1, "g": 1024}[text[-1]]
