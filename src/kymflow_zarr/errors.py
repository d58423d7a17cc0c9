"""The error tree: what went wrong, where, and what to do about it.

Every error is also the builtin exception a Python caller would expect, so that
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
    │   ├── InvalidNameError           (ValueError)         a name no file system could keep
    │   ├── UnsupportedDataError       (ValueError)         a value that would not come back equal
    │   └── RecordExistsError          (ValueError)         that image id is taken
    ├── DatasetExistsError             (FileExistsError)    mode "w-" on something that is there
    ├── TargetExistsError              (FileExistsError)    an export would overwrite foreign files
    ├── ReadOnlyError                  (PermissionError)    a write on a read-only dataset
    ├── EditConflictError              (RuntimeError)       it was changed since it was looked at
    ├── SchemaValidationError          (ValueError)         a broken or foreign store
    │   ├── FormatVersionError         (ValueError)         an unknown format version
    │   └── CorruptDataError           (ValueError)         stored bytes lost or changed
    ├── SourceFileError                (ValueError)         a file to ingest that cannot be read
    ├── LimitExceededError             (ValueError)         a file asks for more than the limits
    ├── StorageError                   (OSError)            the disk refused
    │   └── LockTimeoutError           (OSError, TimeoutError)
    └── MissingDependencyError         (ImportError)        an optional package; names the extra
"""

from __future__ import annotations

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
    r"""Return a text whose control characters are spelled out, as ``\x1b``.

    A name or a note that somebody else wrote could otherwise move the cursor of a terminal,
    change the title of its window or imitate lines of ours.

    Parameters
    ----------
    text : str
    keep : str
        Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c in keep or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


class KymflowZarrError(Exception):
    """Root of the tree.

    Parameters
    ----------
    what : str
        What is wrong, as one sentence without a full stop.
    where : str, optional
        The file, key, column or place inside an object that it is about.
    hint : str, optional
        What the caller can do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        # KeyError would print the repr of its argument and OSError an errno; a
        # sentence helps more than either.
        text = self.what if self.where is None else f"{self.what} (at {self.where})"
        return printable(text if self.hint is None else f"{text}. {self.hint}", keep="\n")

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel back from process pools; keyword-only arguments do not
        # survive the default pickling.
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(
    cls: type[KymflowZarrError], what: str, where: str | None, hint: str | None
) -> KymflowZarrError:
    return cls(what, where=where, hint=hint)


class NotFoundError(KymflowZarrError):
    """Something that was asked for by name is not there."""


class RecordNotFoundError(NotFoundError, KeyError):
    """The dataset holds no image of that id."""


class ArtifactNotFoundError(NotFoundError, KeyError):
    """The image holds no artifact of that kind and name."""


class DatasetNotFoundError(NotFoundError, FileNotFoundError):
    """There is no dataset at that path."""


class TableNotFoundError(NotFoundError, FileNotFoundError):
    """The dataset holds no table of that name."""


class MetadataNotFoundError(NotFoundError, FileNotFoundError):
    """The image holds no metadata payload."""


class SourceNotFoundError(NotFoundError, FileNotFoundError):
    """There is no such file or folder to ingest."""


class ArgumentError(KymflowZarrError, ValueError):
    """An argument has a value the call cannot take."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument has a type the call cannot take."""


class InvalidNameError(ArgumentError):
    """A name that cannot be kept safely on every file system."""


class UnsupportedDataError(ArgumentError):
    """A value that the store could not give back equal; nothing was written."""


class RecordExistsError(ArgumentError):
    """An image of that id is there already."""


class DatasetExistsError(KymflowZarrError, FileExistsError):
    """Mode ``"w-"`` on a path where something is."""


class TargetExistsError(KymflowZarrError, FileExistsError):
    """An export would overwrite files it did not write; nothing was written."""


class ReadOnlyError(KymflowZarrError, PermissionError):
    """A write on a dataset that was opened with mode ``"r"``."""


class EditConflictError(KymflowZarrError, RuntimeError):
    """What was to be changed, or taken back, is not what it was any more; nothing was written."""


class SchemaValidationError(KymflowZarrError, ValueError):
    """A store, or a document in it, is broken or not one of ours."""


class FormatVersionError(SchemaValidationError):
    """A document carries a format version this code does not know."""


class CorruptDataError(SchemaValidationError):
    """Stored bytes are missing or are not those that were written."""


class SourceFileError(KymflowZarrError, ValueError):
    """A file that was to be ingested cannot be read."""


class LimitExceededError(KymflowZarrError, ValueError):
    """A file asks for more memory, depth or pages than the limits allow; nothing was allocated."""


class StorageError(KymflowZarrError, OSError):
    """The file system refused an operation; what was there before is intact.

    The operating system's own error, with its ``errno``, is the ``__cause__``.
    """


class LockTimeoutError(StorageError, TimeoutError):
    """Another writer held a lock for longer than this one was willing to wait."""


class MissingDependencyError(KymflowZarrError, ImportError):
    """An optional package is not installed; the message names the extra."""
