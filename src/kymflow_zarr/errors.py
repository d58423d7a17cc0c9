"""The error tree: each error says what went wrong, where, and what to do about it.

Every error is also the builtin exception that a Python caller would expect, so that
``except KeyError`` and ``except RecordNotFoundError`` both work::

    KymflowZarrError
    ├── NotFoundError
    │   ├── RecordNotFoundError        (KeyError)           no image of that id
    │   ├── ArtifactNotFoundError      (KeyError)           the image has no such artifact
    │   ├── DatasetNotFoundError       (FileNotFoundError)  nothing at that path
    │   ├── TableNotFoundError         (FileNotFoundError)  the dataset has no such table
    │   ├── MetadataNotFoundError      (FileNotFoundError)  the image has no metadata payload
    │   └── SourceNotFoundError        (FileNotFoundError)  no such file or folder to ingest
    ├── ArgumentError                  (ValueError)         the call itself is wrong
    │   ├── ArgumentTypeError          (ValueError, TypeError)
    │   ├── InvalidNameError           (ValueError)         a name not valid on all file systems
    │   ├── UnsupportedDataError       (ValueError)         a value that would not come back equal
    │   └── RecordExistsError          (ValueError)         that image id is taken
    ├── DatasetExistsError             (FileExistsError)    mode "w-" on a path that exists
    ├── TargetExistsError              (FileExistsError)    an export would overwrite foreign files
    ├── ReadOnlyError                  (PermissionError)    a write on a read-only dataset
    ├── EditConflictError              (RuntimeError)       the image changed since it was read
    ├── SchemaValidationError          (ValueError)         a damaged or foreign store
    │   ├── FormatVersionError         (ValueError)         an unknown format version
    │   └── CorruptDataError           (ValueError)         stored bytes lost or changed
    ├── SourceFileError                (ValueError)         a file to ingest that cannot be read
    ├── LimitExceededError             (ValueError)         a file exceeds a limit
    ├── StorageError                   (OSError)            a file system operation failed
    │   └── LockTimeoutError           (OSError, TimeoutError)
    └── MissingDependencyError         (ImportError)        an optional package; names the extra
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "ArtifactNotFoundError",
    "CorruptDataError",
    "DatasetExistsError",
    "DatasetNotFoundError",
    "EditConflictError",
    "FormatVersionError",
    "InvalidNameError",
    "KymflowZarrError",
    "LimitExceededError",
    "LockTimeoutError",
    "MetadataNotFoundError",
    "MissingDependencyError",
    "NotFoundError",
    "ReadOnlyError",
    "RecordExistsError",
    "RecordNotFoundError",
    "SchemaValidationError",
    "SourceFileError",
    "SourceNotFoundError",
    "StorageError",
    "TableNotFoundError",
    "TargetExistsError",
    "UnsupportedDataError",
]


def printable(text: str, *, keep: str = "") -> str:
    r"""Return a text with control characters escaped, such as ``\x1b``.

    Otherwise an untrusted name or note could move the cursor of a terminal, change its window
    title or imitate our output.

    Parameters
    ----------
    text : str
    keep : str
        Characters to leave unchanged.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c in keep or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


class KymflowZarrError(Exception):
    """The base of all errors of this package.

    Parameters
    ----------
    what : str
        The problem, as one sentence without a full stop.
    where : str, optional
        The file, key, column or place inside an object.
    hint : str, optional
        What the caller can do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        # KeyError would print the repr of its argument, and OSError an errno.
        text = self.what if self.where is None else f"{self.what} (at {self.where})"
        return printable(text if self.hint is None else f"{text}. {self.hint}", keep="\n")

    def __reduce__(self) -> tuple[object, ...]:
        # Errors are pickled in process pools, and the default pickling loses keyword-only
        # arguments.
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(
    cls: type[KymflowZarrError], what: str, where: str | None, hint: str | None
) -> KymflowZarrError:
    return cls(what, where=where, hint=hint)


class NotFoundError(KymflowZarrError):
    """There is nothing of the requested name."""


class RecordNotFoundError(NotFoundError, KeyError):
    """The dataset has no image of that id."""


class ArtifactNotFoundError(NotFoundError, KeyError):
    """The image has no artifact of that kind and name."""


class DatasetNotFoundError(NotFoundError, FileNotFoundError):
    """There is no dataset at that path."""


class TableNotFoundError(NotFoundError, FileNotFoundError):
    """The dataset has no table of that name."""


class MetadataNotFoundError(NotFoundError, FileNotFoundError):
    """The image has no metadata payload."""


class SourceNotFoundError(NotFoundError, FileNotFoundError):
    """There is no such file or folder to ingest."""


class ArgumentError(KymflowZarrError, ValueError):
    """An argument has an invalid value."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument has an invalid type."""


class InvalidNameError(ArgumentError):
    """A name is not valid on every file system."""


class UnsupportedDataError(ArgumentError):
    """A value would not come back equal; nothing was written."""


class RecordExistsError(ArgumentError):
    """An image of that id exists already."""


class DatasetExistsError(KymflowZarrError, FileExistsError):
    """The dataset exists already, in mode ``"w-"``."""


class TargetExistsError(KymflowZarrError, FileExistsError):
    """An export would overwrite files that it did not write; nothing was written."""


class ReadOnlyError(KymflowZarrError, PermissionError):
    """A write to a dataset that was opened with mode ``"r"``."""


class EditConflictError(KymflowZarrError, RuntimeError):
    """The image changed since it was read; nothing was written."""


class SchemaValidationError(KymflowZarrError, ValueError):
    """A store, or a document in it, is damaged or not one of ours."""


class FormatVersionError(SchemaValidationError):
    """A document has a format version that this code does not know."""


class CorruptDataError(SchemaValidationError):
    """Stored bytes are missing or differ from those that were written."""


class SourceFileError(KymflowZarrError, ValueError):
    """A file to ingest cannot be read."""


class LimitExceededError(KymflowZarrError, ValueError):
    """A file needs more memory, depth or pages than the limits allow; nothing was allocated."""


class StorageError(KymflowZarrError, OSError):
    """A file system operation failed; the previous content is intact.

    The error of the operating system, with its ``errno``, is the ``__cause__``.
    """


class LockTimeoutError(StorageError, TimeoutError):
    """Another writer held a lock for longer than the timeout."""


class MissingDependencyError(KymflowZarrError, ImportError):
    """An optional package is not installed; the message names the extra."""


def extra_module(module: str, *, extra: str, needs: str) -> Any:
    """Return a module of an optional package.

    Parameters
    ----------
    module : str
    extra : str
        The extra that installs it.
    needs : str
        What needs which package, such as ``"plots need the package matplotlib"``.

    Raises
    ------
    MissingDependencyError
        If it is not installed; names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{needs}, which is not installed",
            hint=f"Install it with the extra: pip install 'kymflow-zarr[{extra}]'.",
        ) from error
