"""SIGTERM to a real process under load: what it accepted it answers, and it says so itself."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter

import httpx
import numpy as np
import pytest

from tests.serving import expected, server_process

CALLERS = 12
SERVER = """
import json, sys, time
from headgate.server import Limits, serve
from tests.serving import WordEngine, deployment

def slowly(outputs):
    time.sleep(0.002)  # so that many are in flight at any moment
    return outputs

served = deployment(WordEngine(slowly), WordEngine(slowly))
limits = Limits(drain_timeout_s=60)
serve(served, port=0, limits=limits, on_listening=lambda url: print(url, flush=True))
counts = served.metrics.requests.items()
print(json.dumps({str(status): n for (_, status, _), n in counts}), flush=True)
"""


class Caller:
    """Asks without a pause until it is refused, on one connection or on a new one each time."""

    def __init__(self, url: str, number: int) -> None:
        self.answered = 0
        self.last = "nothing"
        self.begun = threading.Event()
        address = httpx.URL(url)
        self._address = (address.host, address.port)
        self._number = number
        self.thread = threading.Thread(target=self._call, daemon=True)
        self.thread.start()

    def _call(self) -> None:
        keeps = self._number % 2 == 0
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        try:
            for n in range(100_000):
                text = f"{'a' * (self._number + 1)} {'b' * (n % 50 + 1)}"
                body = json.dumps({"model": "words", "input": text})
                connection.request("POST", "/v1/embeddings", body)
                reply = connection.getresponse()
                content = reply.read()
                if reply.status != 200:
                    self.last = str(reply.status)
                    return
                assert json.loads(content)["data"][0]["embedding"] == expected(text)
                self.answered += 1
                self.begun.set()
                if not keeps:
                    connection.close()
        except http.client.IncompleteRead:
            self.last = "half an answer"
        except (ConnectionError, http.client.RemoteDisconnected):
            self.last = "closed"  # without a byte of an answer
        except Exception as error:
            self.last = repr(error)
        finally:
            connection.close()


@pytest.mark.parametrize(
    "times",
    [3, pytest.param(100, marks=[pytest.mark.campaign, pytest.mark.timeout(1200)])],
)
def test_sigterm_under_load_loses_no_accepted_request(times: int) -> None:
    """At any moment: every 200 that the server counts has reached its caller whole and right, all
    others were told 503 or closed upon without a byte, and the process ends with 0.

    One caller has sent half a body, which is no request yet: it holds nobody up.
    """
    rng = np.random.default_rng(4)
    last: Counter[str] = Counter()
    for _ in range(times):
        with server_process(SERVER) as running:
            assert running.stdout is not None
            url = running.stdout.readline().strip()
            address = httpx.URL(url)
            with socket.create_connection((address.host, address.port or 80), 60) as half:
                half.sendall(b"POST /v1/embeddings HTTP/1.1\r\ncontent-length: 99\r\n\r\n{")
                callers = [Caller(url, number) for number in range(CALLERS)]
                assert all(caller.begun.wait(60) for caller in callers)
                time.sleep(float(rng.uniform(0, 0.05)))  # any moment will do
                running.send_signal(signal.SIGTERM)
                assert half.recv(12) == b"HTTP/1.1 503"
            for caller in callers:
                caller.thread.join(60)
            stdout, stderr = running.communicate(timeout=60)
            assert (running.returncode, stderr) == (0, "")
        counted = json.loads(stdout)
        assert counted.keys() <= {"200", "503"}
        assert counted["200"] == sum(caller.answered for caller in callers)
        last.update(caller.last for caller in callers)
    assert last.keys() <= {"503", "closed"}
    assert last.total() == times * CALLERS
