"""The requests to an object store, by the name of an object below the dataset.

Imports obstore: import it late.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    NotModifiedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore, from_url

from kymflow_zarr.errors import ArgumentError, StorageError
from kymflow_zarr.storage.object.requests import AccessDeniedError, Listed, Objects
from kymflow_zarr.storage.traffic import count_bytes, count_request

# Requests at a time. More take memory and make stores answer "slow down".
_AT_ONCE: Final = 64
_CLIENT: Final = {"timeout": "60s", "connect_timeout": "10s"}
# obstore.store.ClientConfig, which exists for type checkers only.
_OF_CLIENT: Final = frozenset({
    "allow_http", "allow_invalid_certificates", "connect_timeout", "default_content_type",
    "default_headers", "http1_only", "http2_keep_alive_interval", "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle", "http2_only", "pool_idle_timeout", "pool_max_idle_per_host",
    "proxy_url", "proxy_ca_certificate", "proxy_excludes", "root_certificate",
    "randomize_addresses", "read_timeout", "timeout", "user_agent",
})  # fmt: skip
_RETRIES: Final = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
# The options that say where a store is. All others may be secrets, and are never pickled.
_PUBLIC: Final = re.compile(
    r"(aws_|google_|azure_|azure_storage_)?(region|default_region|bucket|bucket_name|endpoint|"
    r"endpoint_url|allow_http|virtual_hosted_style_request|skip_signature|account_name|"
    r"container_name|use_emulator|client_options|retry_config|conditional_put)",
    re.IGNORECASE,
)


class Bucket(Objects):
    """The objects of one dataset.

    Parameters
    ----------
    address : str
        URL of the dataset, such as ``s3://bucket/x.zarr``.
    options : mapping, optional
        Configuration of the store, by obstore's names, with ``client_options`` and
        ``retry_config`` as obstore takes them. Credentials that are missing come from the
        environment.
    store : object, optional
        A store of obstore to use in place of what the address names.

    Attributes
    ----------
    address : str
    requests : dict of str to int
        How many requests of each kind were made.
    bytes_read, bytes_written : int
    """

    def __init__(
        self, address: str, options: Mapping[str, Any] | None = None, *, store: Any = None
    ) -> None:
        self.address = address.rstrip("/")
        self._options = dict(options or {})
        self._store = self._opened() if store is None else store
        self.requests: dict[str, int] = {}
        self.bytes_read = self.bytes_written = 0
        self._at_once = threading.BoundedSemaphore(_AT_ONCE)
        with _registering:
            _buckets[self.address] = self

    def _opened(self) -> Any:
        # Among the others they end the program: obstore panics, and a panic is no Exception.
        of_client = sorted(_OF_CLIENT.intersection(self._options))
        if of_client:
            raise ArgumentError(
                f"{of_client[0]!r} is an option of the connections",
                where="storage_options",
                hint="Put it into client_options: storage_options={'client_options': {...}}.",
            )
        config: Any = dict(self._options)
        if os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"):
            # Options that are given hide those of the environment.
            config["client_options"] = {"allow_http": True, **config.get("client_options", {})}
        client: Any = {**_CLIENT, **config.pop("client_options", {})}
        retries: Any = {**_RETRIES, **config.pop("retry_config", {})}
        try:
            return from_url(self.address, config=config, client_options=client,
                            retry_config=retries)  # fmt: skip
        except (BaseError, ValueError, TypeError) as error:
            raise StorageError(
                f"the address cannot be opened: {self._cleaned(error)}", where=self.address
            ) from None

    def __repr__(self) -> str:
        return f"Bucket({self.address!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        public = {name: value for name, value in self._options.items() if _PUBLIC.fullmatch(name)}
        in_memory = isinstance(self._store, MemoryStore)
        return _reopened, (self.address, public, in_memory)

    def close(self) -> None:
        """Do nothing: the connections of a store are closed with the process."""

    # Reading ---------------------------------------------------------------------------

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of an object and its entity tag, None if there is none."""
        with self.request("get", name):
            try:
                result = obstore.get(self._store, name)
            except (FileNotFoundError, NotFoundError):
                return None
            data = bytes(result.bytes())
        self.bytes_read += len(data)
        count_bytes(read=len(data))
        return data, _tag(result.meta["e_tag"])

    def get_range(self, name: str, start: int, size: int) -> bytes | None:
        """Return bytes of an object, fewer at its end; None if there is no object."""
        with self.request("get", name):
            try:
                data = bytes(obstore.get_range(self._store, name, start=start, length=size))
            except (FileNotFoundError, NotFoundError):
                return None
        self.bytes_read += len(data)
        count_bytes(read=len(data))
        return data

    def head(self, name: str) -> tuple[int, str] | None:
        """Return size and entity tag of an object, None if there is none."""
        with self.request("head", name):
            try:
                meta = obstore.head(self._store, name)
            except (FileNotFoundError, NotFoundError):
                return None
        return int(meta["size"]), _tag(meta["e_tag"])

    def list_below(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose names begin with a prefix that ends with a slash, or is empty.

        Each thousand of them is a request.
        """
        with self.request("list", prefix):
            stream = obstore.list(self._store, prefix.rstrip("/") or None, chunk_size=_PAGE)
            batch = next(stream, None)
        while batch is not None:
            for item in batch:
                modified_s = item["last_modified"].timestamp()
                yield Listed(str(item["path"]), int(item["size"]), _tag(item["e_tag"]), modified_s)
            # The last page may be full, so that one request more than these is made.
            with self.request("list", prefix, counts=len(batch) >= _PAGE):
                batch = next(stream, None)

    def top_names(self) -> list[str]:
        """Return the names at the top of the dataset's address."""
        with self.request("list", ""):
            listing = obstore.list_with_delimiter(self._store)
        names = [*listing["common_prefixes"], *(item["path"] for item in listing["objects"])]
        return sorted(str(name) for name in names)

    # Writing ---------------------------------------------------------------------------

    def put(
        self, name: str, data: bytes | memoryview, attributes: Mapping[str, str] | None = None
    ) -> None:
        """Put an object, replacing one of that name.

        `attributes` are headers with which it is served, such as ``Content-Type``.
        """
        with self.request("put", name):
            obstore.put(self._store, name, bytes(data), use_multipart=len(data) > _MULTIPART,
                        attributes=None if attributes is None else {**attributes})  # fmt: skip
        self.bytes_written += len(data)
        count_bytes(written=len(data))

    def put_if(self, name: str, data: bytes, tag: str | None) -> str | None:
        """Put an object if its entity tag is still `tag`, or, with None, if there is none.

        Returns
        -------
        str or None
            The new entity tag; None if the condition did not hold, or the server says so.
        """
        mode: Any = "create" if tag is None else {"e_tag": f'"{tag}"'}
        with self.request("put", name):
            try:
                result = obstore.put(self._store, name, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError, NotModifiedError):
                return None
            except (FileNotFoundError, NotFoundError):
                return None  # Some servers answer so if the object has gone.
        self.bytes_written += len(data)
        count_bytes(written=len(data))
        return _tag(result["e_tag"])

    def delete(self, names: list[str]) -> None:
        """Delete objects; those that are not there are no error."""
        if names:
            with self.request("delete", names[0]):
                try:
                    obstore.delete(self._store, names)
                except (FileNotFoundError, NotFoundError):
                    return

    # Helpers ---------------------------------------------------------------------------

    @contextmanager
    def request(self, kind: str, name: str, *, counts: bool = True) -> Iterator[None]:
        """Make one request in the ``with`` block: count it, and name the object in its errors.

        Tests override this to lose requests and answers.
        """
        if counts:
            count_request(self.requests, kind)
        where = f"{self.address}/{name}"
        try:
            with self._at_once:
                yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise AccessDeniedError(
                f"the store does not allow to {kind} it: {self._cleaned(error)}",
                where=where,
                hint="Give credentials in storage_options, or in the environment as the "
                "provider's own tools take them. They are never sent to worker processes, "
                "which need them in their own environment.",
            ) from None
        except (BaseError, OSError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"cannot {kind} it: {self._cleaned(error)}", where=where) from None

    def _cleaned(self, error: BaseException) -> str:
        """Return the first line of an error without addresses, which may hold signatures."""
        text = re.sub(r"[a-z]+://[^\s)]*", "...", str(error).strip().partition("\n")[0])
        for name, value in self._options.items():
            if isinstance(value, str) and not _PUBLIC.fullmatch(name) and value:
                text = text.replace(value, "***")
        if "scheme is not allowed" in str(error):
            text = "its endpoint is http, which client_options={'allow_http': True} would allow"
        return f"{text[:300]} ({type(error).__name__})"


_MULTIPART: Final = 64 << 20
_PAGE: Final = 1000
_registering = threading.Lock()
# By address: what is unpickled in the same process uses the same connections and credentials.
_buckets: weakref.WeakValueDictionary[str, Bucket] = weakref.WeakValueDictionary()


def _reopened(address: str, options: Mapping[str, Any], in_memory: bool) -> Bucket:
    with _registering:
        bucket = _buckets.get(address)
    if bucket is not None:
        return bucket
    if in_memory:
        raise StorageError(
            "the dataset is in the memory of another process",
            where=address,
            hint="Use threads, or a dataset in a folder or an object store.",
        )
    return Bucket(address, options)


def _tag(tag: str | None) -> str:
    # Some servers leave out the quotes that HTTP demands.
    return (tag or "").strip('"')
