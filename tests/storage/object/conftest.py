"""An S3 server in this process, and datasets in it."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

SECRET = "sEcReT-mArK-0123456789"
_NUMBERS = itertools.count()
_RUN = uuid.uuid4().hex[:8]


@pytest.fixture(scope="session")
def s3_options() -> Iterator[dict[str, Any]]:
    """Return the storage options of a server that has a bucket.

    It is one in this process, or that at KYMFLOW_ZARR_S3_ENDPOINT, with its credentials in the
    environment.
    """
    endpoint = os.environ.get("KYMFLOW_ZARR_S3_ENDPOINT")
    if endpoint:
        yield {
            "endpoint": endpoint, "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"], "region": "us-east-1",
            "client_options": {"allow_http": True},
        }  # fmt: skip
        return
    server_module = pytest.importorskip("moto.server")
    import boto3
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = server_module.DomainDispatcherApplication(server_module.create_backend_app)
    server = make_server("127.0.0.1", 0, _one_at_a_time(app), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="key", aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )  # fmt: skip
    client.create_bucket(Bucket="bucket")
    client.close()
    yield {
        "endpoint": endpoint, "access_key_id": "key", "secret_access_key": SECRET,
        "region": "us-east-1", "client_options": {"allow_http": True},
    }  # fmt: skip
    server.shutdown()
    thread.join(60)
    server.server_close()


def _one_at_a_time(app: Any) -> Any:
    """Let a server answer one request after the other.

    moto looks at a condition and writes in two steps: of several threads two may get through.
    """
    lock = threading.Lock()

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        with lock:
            return [*app(environ, start_response)]

    return answer


@pytest.fixture
def new_address() -> Callable[[], str]:
    """Return a function that returns a new address in the bucket."""
    return lambda: f"s3://bucket/{_RUN}/{next(_NUMBERS)}.zarr"
