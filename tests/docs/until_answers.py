"""Waits until a URL answers: python -m tests.docs.until_answers URL."""

from __future__ import annotations

import contextlib
import sys
import time
import urllib.error
import urllib.request

SECONDS = 60

if __name__ == "__main__":
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError):
            direct.open(sys.argv[1], timeout=SECONDS).read()
            sys.exit()
        time.sleep(0.2)
    sys.exit(f"{sys.argv[1]} did not answer within {SECONDS} s")
