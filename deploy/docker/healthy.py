"""Ends with 0 if an address answers with 200, and with 1 and a line on why otherwise: the health checks of the images.

The images have no curl, and need none: `python -IS healthy.py URL` starts in a fraction of what a client library takes.
"""

import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

_LIMIT_SEC = 2.0


def main(url: str) -> int:
    """Ask `url` once and return the exit code."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_LIMIT_SEC)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        text = answer.read(2000).decode(errors="replace")
    except (OSError, HTTPException) as error:
        print(f"{url}: {error}")
        return 1
    finally:
        connection.close()
    print(text)
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
