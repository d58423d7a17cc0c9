"""Read heads, swap them, and change several of them at once."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from kymflow_zarr.errors import FormatVersionError, SchemaValidationError, StorageError
from kymflow_zarr.storage.interface import ConflictError
from kymflow_zarr.storage.object.heads import (
    CHANGES,
    RECENT,
    Files,
    Head,
    Pending,
    State,
    decode_head,
    encode_head,
    head_name,
    next_head,
    number_of,
)
from kymflow_zarr.storage.object.requests import AccessDeniedError, Objects

_ATTEMPTS: Final = 12
_CACHED: Final = 2048
_COMMITTED: Final = "committed"
_ABORTED: Final = "aborted"
PATIENCE_S: Final = 3.0
"""How long a change of another writer may take before it is aborted."""


class OutcomeUnknownError(StorageError):
    """The store did not answer, and cannot tell any more whether the change was made."""


class DamagedHeadError(SchemaValidationError, StorageError):
    """A head is damaged or hostile, so that nothing is known of its files."""


class NewerHeadError(FormatVersionError, StorageError):
    """A head has a format version that this code does not know."""


class Seen:
    """A head as it was read.

    Parameters
    ----------
    tag : str or None
        Entity tag; None if there is no head.
    head : Head or None
    state : State
        The current state: if a change of several heads is under way, as that was decided.
    """

    __slots__ = ("head", "state", "tag")

    def __init__(self, tag: str | None, head: Head | None, state: State) -> None:
        self.tag = tag
        self.head = head
        self.state = state

    @property
    def files(self) -> Files:
        """The files of the scope; empty if there is nothing."""
        return self.state.files or {}

    @property
    def exists(self) -> bool:
        """True unless there is nothing, or it is deleted."""
        return self.state.files is not None

    @property
    def version(self) -> int:
        """A number that differs for each state."""
        return number_of(self.tag or "")


class States:
    """The heads of one dataset.

    Parameters
    ----------
    bucket : Objects

    Attributes
    ----------
    pending : dict of str to int
        Scopes that were last read in the middle of a change of several heads, with the version.
    """

    def __init__(self, bucket: Objects) -> None:
        self._bucket = bucket
        self._cache: OrderedDict[str, Seen] = OrderedDict()
        self._guard = threading.Lock()
        self.pending: dict[str, int] = {}
        self.sleep: Callable[[float], None] = time.sleep
        self.patience_s = PATIENCE_S

    def cached(self, scope: str) -> Seen | None:
        """Return a head as it was last read or written here, None if it was not."""
        with self._guard:
            return self._cache.get(scope)

    def read(self, scope: str) -> Seen:
        """Return the current head."""
        before: str | None = None
        while True:
            stored = self._bucket.get(head_name(scope))
            if stored is None:
                return self._remember(scope, Seen(None, None, State()))
            data, tag = stored
            try:
                head = decode_head(data, where=f"{self._bucket.address}/{head_name(scope)}")
            except SchemaValidationError as error:
                is_newer = isinstance(error, FormatVersionError)
                kind = NewerHeadError if is_newer else DamagedHeadError
                raise kind(error.what, where=error.where, hint=error.hint) from error
            if head.pending is None:
                return self._remember(scope, Seen(tag, head, head.state))
            outcome = self._outcome(head.pending.change)
            if outcome is not None or tag == before:
                committed = outcome == _COMMITTED
                state = head.pending.then if committed else head.state
                return self._remember(scope, Seen(tag, head, state))
            before = tag  # The change may have been finished and forgotten meanwhile: look again.

    def _remember(self, scope: str, seen: Seen) -> Seen:
        with self._guard:
            self._cache[scope] = seen
            self._cache.move_to_end(scope)
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
            if seen.head is not None and seen.head.pending is not None:
                self.pending[scope] = seen.version
            else:
                self.pending.pop(scope, None)
        return seen

    def commit(self, scopes: Mapping[str, tuple[Seen, State]]) -> dict[str, Seen]:
        """Change the states of some scopes: all, or none.

        Parameters
        ----------
        scopes : mapping of str to (Seen, State)
            For each scope the head that the change builds on, and the new state.

        Raises
        ------
        ConflictError
            If one of the heads is not as it was seen; nothing is changed.
        """
        settled = {scope: (self._settle(scope, seen), state) for scope, (seen, state) in
                   scopes.items()}  # fmt: skip
        if len(settled) == 1:
            ((scope, (seen, state)),) = settled.items()
            return {scope: self._swap(scope, seen, state)}
        return self._commit_several(settled)

    def _commit_several(self, scopes: Mapping[str, tuple[Seen, State]]) -> dict[str, Seen]:
        change = uuid.uuid4().hex
        marked: dict[str, Seen] = {}
        try:
            for scope in sorted(scopes):
                seen, then = scopes[scope]
                marked[scope] = self._swap(
                    scope, seen, seen.state, Pending(change=change, then=then)
                )
            if self._decide(change, _COMMITTED) != _COMMITTED:
                raise ConflictError(
                    "another writer stopped the change, which took long",
                    where=self._bucket.address,
                )
        except OutcomeUnknownError:
            raise
        except Exception:
            # Nobody may decide otherwise once this is written.
            if marked and self._decide(change, _ABORTED) == _COMMITTED:
                return self._finish(change, scopes, marked)
            self._finish(change, scopes, marked, committed=False)
            raise
        return self._finish(change, scopes, marked)

    def _finish(
        self,
        change: str,
        scopes: Mapping[str, tuple[Seen, State]],
        marked: Mapping[str, Seen],
        *,
        committed: bool = True,
    ) -> dict[str, Seen]:
        """Give each head the state that was decided, and forget the change.

        The outcome stands, so errors are no failure of the change: whoever meets a head that was
        left pending does the same.
        """
        result = {}
        complete = True
        for scope, seen in marked.items():
            state = scopes[scope][1] if committed else seen.state
            try:
                result[scope] = self._swap(scope, seen, state)
            except ConflictError:
                result[scope] = Seen(seen.tag, seen.head, state)  # Another writer has settled it.
            except StorageError:
                result[scope] = Seen(seen.tag, seen.head, state)
                complete = False
        if complete:
            with contextlib.suppress(StorageError):
                self._bucket.delete([_change_name(change)])
        return result

    def _settle(self, scope: str, seen: Seen) -> Seen:
        """Bring a change of several heads that another writer has begun to its end."""
        if seen.head is None or seen.head.pending is None:
            return seen
        pending = seen.head.pending
        until = time.monotonic() + self.patience_s
        outcome = self._outcome(pending.change)
        while outcome is None and time.monotonic() < until:
            self.sleep(0.2)
            now = self.read(scope)
            if now.tag != seen.tag:
                raise ConflictError("another writer changed it meanwhile", where=scope)
            outcome = self._outcome(pending.change)
        if outcome is None:
            outcome = self._decide(pending.change, _ABORTED)
        state = pending.then if outcome == _COMMITTED else seen.head.state
        settled = self._swap(scope, seen, state)
        if state != seen.state:
            # It was undecided when it was read, and our change builds on the state before it.
            raise ConflictError("another writer changed it meanwhile", where=scope)
        return settled

    def _outcome(self, change: str) -> str | None:
        stored = self._bucket.get(_change_name(change))
        if stored is None:
            return None
        try:
            document: Any = msgspec.json.decode(stored[0])
            return str(document["outcome"])
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise StorageError(
                "the outcome of a change cannot be read",
                where=f"{self._bucket.address}/{_change_name(change)}",
            ) from error

    def _decide(self, change: str, outcome: str) -> str:
        """Decide the outcome of a change, unless that was done; return what it is."""
        data = msgspec.json.encode({"outcome": outcome})
        error: StorageError | None = None
        for attempt in range(_ATTEMPTS):
            self._pause(attempt)
            try:
                if self._bucket.put_if(_change_name(change), data, None) is not None:
                    return outcome
                decided = self._outcome(change)
                if decided is not None:
                    return decided
            except AccessDeniedError:
                raise
            except StorageError as failed:
                error = failed
        raise self._unknown(_change_name(change)) from error

    def _swap(self, scope: str, seen: Seen, state: State, pending: Pending | None = None) -> Seen:
        """Swap a head. After any error, ask the store what it holds."""
        name = head_name(scope)
        head = next_head(seen.head, state, pending)
        data = encode_head(head)
        error: StorageError | None = None
        for attempt in range(_ATTEMPTS):
            self._pause(attempt)
            try:
                tag = self._bucket.put_if(name, data, seen.tag)
                if tag:
                    return self._remember(scope, Seen(tag, head, state))
                now = self.read(scope)
            except AccessDeniedError:
                raise
            except StorageError as failed:
                error = failed
                try:
                    now = self.read(scope)
                except StorageError as also:
                    error = also
                    continue
            if now.tag == seen.tag:
                continue  # Nothing was written, and nothing else either.
            if now.head is not None and now.head.commit == head.commit:
                return now
            if now.head is not None and head.commit in now.head.recent:
                return now
            if now.head is not None and now.head.seq - head.seq >= RECENT:
                raise self._unknown(name) from error
            raise ConflictError(
                "another writer changed it meanwhile",
                where=f"{self._bucket.address}/{name}",
                hint="Call again.",
            )
        raise self._unknown(name) from error

    def _pause(self, attempt: int) -> None:
        if attempt:
            self.sleep(random.uniform(0.01, min(2.0, 0.05 * 2**attempt)))

    def _unknown(self, name: str) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            "the store gave no usable answer: whether the change was made is not known",
            where=f"{self._bucket.address}/{name}",
            hint="Look at the image, and call again if it was not changed.",
        )


def _change_name(change: str) -> str:
    return f"{CHANGES}/{change}.json"
