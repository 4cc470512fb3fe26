"""Runs in a container of the outside network, as `python3 -c`: callers of `gateway`, by that name, until told to stop.

Each has a connection that it keeps until the server says `Connection: close`, and makes a new one to whichever address of
the name takes it. Anything but a 200 with the right answer counts as failed; nothing is sent twice. Reads JSON: host,
port, path, headers, body, expected, callers, begun and stop (files), most_s. Makes `begun` when each caller has had an answer,
and ends when `stop` is there. Prints one line of JSON.
"""

from __future__ import annotations

import http.client
import json
import pathlib
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any

right: Counter[str] = Counter()
failures: Counter[str] = Counter()
begun: set[int] = set()
slowest_s = slowest_name_s = 0.0  # to an answer; to the addresses of the name


def caller(call: dict[str, Any], until: float, stop: pathlib.Path) -> None:
    global slowest_s, slowest_name_s  # noqa: PLW0603 - a script
    connection: http.client.HTTPConnection | None = None
    while time.monotonic() < until and not stop.exists():
        began = time.monotonic()
        try:
            if connection is None:
                socket.getaddrinfo(call["host"], call["port"])
                slowest_name_s = max(slowest_name_s, time.monotonic() - began)
                began = time.monotonic()
                connection = http.client.HTTPConnection(call["host"], call["port"], timeout=3)
                connection.connect()  # each address of the name in turn
                connection.sock.settimeout(20)
            connection.request("POST", call["path"], call["body"], call["headers"])
            answer = connection.getresponse()
            body = answer.read()
            pod = connection.sock.getpeername()[0] if connection.sock else "closed"
            if answer.status == 200 and json.loads(body)["predictions"] == call["expected"]:
                right[pod] += 1
                begun.add(threading.get_ident())
                if len(begun) == call["callers"]:
                    pathlib.Path(call["begun"]).touch()
            else:
                failures[f"{answer.status} {body[:200].decode()}"] += 1
            if answer.will_close:
                connection = None
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures[repr(error)] += 1
            connection = None
        slowest_s = max(slowest_s, time.monotonic() - began)
        time.sleep(0.05)  # the pace of this caller, some twenty requests a second


if __name__ == "__main__":
    call = json.load(sys.stdin)
    stop = pathlib.Path(call["stop"])
    for file in (stop, pathlib.Path(call["begun"])):
        file.unlink(missing_ok=True)
    until = time.monotonic() + call["most_s"]
    threads = [threading.Thread(target=caller, args=(call, until, stop)) for _ in range(call["callers"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(
        json.dumps(
            {"right": right, "failures": failures, "slowest_s": round(slowest_s, 2), "name_s": round(slowest_name_s, 2)}
        )
    )
