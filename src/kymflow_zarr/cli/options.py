"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kymflow_zarr.cli.complete import complete_ids

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from kymflow_zarr.cli.output.cells import Form

__all__ = [
    "DatasetParameter",
    "choice_options",
    "dataset_argument",
    "debug_option",
    "executor_of",
    "form_of",
    "form_options",
    "id_argument",
    "json_option",
    "shared_option",
    "workers_options",
]

F = TypeVar("F", bound=Callable[..., Any])


def _remember_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    # The option may precede or follow the command.
    if value:
        ctx.meta["debug"] = True


def _remember_verbose(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    root = ctx.find_root()
    if value and not ctx.meta.get("verbose"):
        ctx.meta["verbose"] = True
        # When all is done: the outermost context is closed last.
        root.call_on_close(_print_traffic)


def _print_traffic() -> None:
    from kymflow_zarr.api.internals import total_traffic

    click.echo(str(total_traffic()), err=True)


_debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    envvar="KYMFLOW_ZARR_DEBUG",
    callback=_remember_debug,
    help="Show the traceback of an error.",
)
_verbose_option = click.option(
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_remember_verbose,
    help="Say how many requests to stores and web hosts were made, and bytes.",
)


def debug_option(command: F) -> F:
    """Add --debug and --verbose to a command."""
    return _verbose_option(_debug_option(command))


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
)

shared_option = click.option(
    "--shared", is_flag=True, help="Create a dataset that several computers write to, on a share."
)


class DatasetParameter(click.Path):
    """The path of a folder, as Path, or an address, as str."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an address as it is."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


dataset_argument = click.argument("dataset", type=DatasetParameter())

id_argument = click.argument("image_id", metavar="ID", shell_complete=complete_ids)


def choice_options(command: F) -> F:
    """Add --ids and --where to a command that acts on some images."""
    ids = click.option(
        "--ids", multiple=True, metavar="A,B,...", shell_complete=complete_ids,
        help="These images: names of files, ids, or beginnings of ids.",
    )  # fmt: skip
    where = click.option(
        "--where", multiple=True, metavar="CONDITION", help="Images of which this holds, as for ls."
    )
    return ids(where(command))


def form_options(command: F) -> F:
    """Add --csv, --table and --json to a command that prints a data frame."""
    csv = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, as in a pipe.")
    table = click.option("--table", "as_table", is_flag=True, help="Print a table, in a pipe too.")
    return csv(table(json_option(command)))


def form_of(*, as_json: bool, as_csv: bool, as_table: bool) -> Form | None:
    """Return the requested form, None if none was given.

    Raises
    ------
    click.UsageError
        If several were given.
    """
    asked: list[Form] = []
    asked += ["json"] if as_json else []
    asked += ["csv"] if as_csv else []
    asked += ["table"] if as_table else []
    if len(asked) > 1:
        raise click.UsageError("Give one of --json, --csv and --table.")
    return asked[0] if asked else None


def workers_options(command: F) -> F:
    """Add --workers and --processes to a command that can use an executor."""
    several = click.IntRange(min=1)
    workers = click.option(
        "--workers", type=several, metavar="N", help="So many threads; chosen if left out."
    )
    processes = click.option(
        "--processes", type=several, metavar="N", help="So many processes in place of threads."
    )
    return workers(processes(command))


@contextmanager
def executor_of(workers: int | None, processes: int | None) -> Iterator[Executor | None]:
    """Yield the requested executor, None if none was given.

    Raises
    ------
    click.UsageError
        If both were given.
    """
    if workers is not None and processes is not None:
        raise click.UsageError("Give one of --workers and --processes.")
    if workers is not None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(workers) as threads:
            yield threads
    elif processes is not None:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        # Do not fork: this process may have threads, including those of libraries.
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as others:
            yield others
    else:
        yield None
