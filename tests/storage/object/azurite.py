"""Azurite, an Azure store on this computer, for tests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import urlsplit

# The account that every Azurite has.
ACCOUNT: Final = "devstoreaccount1"
KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def command() -> list[str]:
    """Return what starts Azurite, empty if it is not there.

    It is KYMFLOW_ZARR_AZURITE, or ``azurite-blob`` of the path.
    """
    found = shutil.which("azurite-blob")
    return shlex.split(os.environ.get("KYMFLOW_ZARR_AZURITE", "")) or ([found] if found else [])


@contextmanager
def azurite() -> Iterator[dict[str, Any]]:
    """Start an Azurite that has a container ``bucket``; yield the storage options."""
    process = subprocess.Popen(
        [*command(), "--inMemoryPersistence", "--silent", "--disableTelemetry",
         "--skipApiVersionCheck", "--blobPort", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    # Reading its output has no limit of its own.
    late = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
    late.daemon = True
    late.start()
    try:
        assert process.stdout is not None
        said = ""
        while (listens := re.search(r"listens on (http://\S+)", said)) is None:
            line = process.stdout.readline()
            assert line, f"Azurite does not start: {said}"
            said += line
        endpoint = f"{listens[1]}/{ACCOUNT}"
        late.cancel()
        _create_container(endpoint)
        yield {
            "endpoint": endpoint, "account_name": ACCOUNT, "account_key": KEY,
            "client_options": {"allow_http": True},
        }  # fmt: skip
    finally:
        # The command may be a wrapper that has started another process.
        late.cancel()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def _create_container(endpoint: str) -> None:
    """Create a container; obstore cannot."""
    # https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
    own = f"x-ms-date:{formatdate(usegmt=True)}\nx-ms-version:2021-08-06\n"
    resource = f"/{ACCOUNT}/{ACCOUNT}/bucket\nrestype:container"
    text = "PUT\n" + "\n" * 11 + own + resource
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers = dict(line.split(":", 1) for line in own.splitlines())
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    parts = urlsplit(endpoint)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request("PUT", f"/{ACCOUNT}/bucket?restype=container", headers=headers)
    answer = connection.getresponse()
    assert answer.status == http.client.CREATED, answer.read()
    connection.close()
