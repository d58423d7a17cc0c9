"""The program: its commands, exit codes and error messages."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, NoReturn, TextIO

import click

from kymflow_zarr._version import __version__
from kymflow_zarr.cli.completion import completion
from kymflow_zarr.cli.curation.agreement import agreement
from kymflow_zarr.cli.curation.log import log
from kymflow_zarr.cli.curation.merge_edits import merge_edits
from kymflow_zarr.cli.curation.metadata import metadata
from kymflow_zarr.cli.curation.unblind import unblind
from kymflow_zarr.cli.curation.worklist import worklist
from kymflow_zarr.cli.exchange.archive import archive
from kymflow_zarr.cli.exchange.copy import copy
from kymflow_zarr.cli.exchange.demo import demo
from kymflow_zarr.cli.exchange.export import export
from kymflow_zarr.cli.exchange.ingest import ingest
from kymflow_zarr.cli.exchange.migrate import migrate
from kymflow_zarr.cli.exchange.pack import pack
from kymflow_zarr.cli.exchange.publish import publish
from kymflow_zarr.cli.exchange.refresh import refresh
from kymflow_zarr.cli.look.cat import cat
from kymflow_zarr.cli.look.info import info
from kymflow_zarr.cli.look.ls import ls
from kymflow_zarr.cli.look.show import show
from kymflow_zarr.cli.look.sql import sql
from kymflow_zarr.cli.look.summary import summary
from kymflow_zarr.cli.look.tables import head, tables
from kymflow_zarr.cli.look.view import view
from kymflow_zarr.cli.maintenance.delete import delete
from kymflow_zarr.cli.maintenance.pyramids import pyramids
from kymflow_zarr.cli.maintenance.repair import repair
from kymflow_zarr.cli.maintenance.schema import schema
from kymflow_zarr.cli.maintenance.validate import validate
from kymflow_zarr.cli.maintenance.verify import verify
from kymflow_zarr.cli.options import debug_option
from kymflow_zarr.cli.results.compute import compute
from kymflow_zarr.cli.results.explain import explain
from kymflow_zarr.cli.results.listing import results, stale
from kymflow_zarr.errors import DatasetNotFoundError, KymflowZarrError, printable

__all__ = ["app"]


class _Program(click.Group):
    """A group that turns errors into one line and an exit code."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)  # Prints --help and --version here.
        except click.ClickException as error:
            raise _printable(error) from None
        except BrokenPipeError:
            _silence(sys.stdout)
            raise click.exceptions.Exit(0) from None
        except KeyboardInterrupt:
            click.echo("cancelled", err=True)
            raise click.exceptions.Exit(130) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Click would exit with 1, which means that problems were found.
            _silence(sys.stdout)
            ctx.exit(0)
        except click.ClickException as error:
            raise _printable(error) from None
        except click.exceptions.Exit:
            raise
        except (KeyboardInterrupt, click.Abort):  # Abort means Ctrl-C at a prompt.
            click.echo("cancelled; what was finished is kept", err=True)
            ctx.exit(130)
        except DatasetNotFoundError as error:
            # The hint of this error is about Python.
            _refuse(ctx, f"{error.what} (at {error.where}). kymflow-zarr ingest makes one.")
        except KymflowZarrError as error:
            _refuse(ctx, str(error))
        except OSError as error:
            where = "" if error.filename is None else f" (at {error.filename})"
            _refuse(ctx, f"{error.strerror or error}{where}")
        except Exception as error:  # noqa: BLE001 - the last handler before the user
            message = f"{type(error).__name__}: {error}"
            _refuse(ctx, f"{message}. This should not happen; --debug shows where it did.")


def _printable(error: click.ClickException) -> click.ClickException:
    """Return a click error with a message (which repeats arguments) that is safe to print."""
    vars(error)["message"] = printable(error.message)  # final, but shown by error.show()
    return error


def _refuse(ctx: click.Context, message: str) -> NoReturn:
    from kymflow_zarr.cli.output.terminal import say

    try:
        if ctx.meta.get("debug"):
            click.echo(printable(traceback.format_exc().rstrip(), keep="\n"), err=True)
        say("error: " + " ".join(message.split()), err=True)
    except BrokenPipeError:
        _silence(sys.stderr)  # The exit code still reports the error.
    ctx.exit(2)


def _silence(stream: TextIO) -> None:
    """Redirect a stream without a reader to devnull, since its buffer is flushed at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="kymflow-zarr", message="%(prog)s %(version)s")
@debug_option
def app() -> None:
    """One dataset for a whole imaging experiment.

    A dataset is a folder, usually named *.zarr, that holds images, metadata, regions, analysis
    and tables in open files: OME-Zarr, Parquet, JSON.

    \b
    Examples:
      kymflow-zarr demo                          try it on a synthetic experiment
      kymflow-zarr ingest ~/data/experiment      make experiment.zarr of a folder of TIFFs
      kymflow-zarr ls experiment.zarr            list its images
      kymflow-zarr show experiment.zarr 3f9a     all about one image
      kymflow-zarr view experiment.zarr          look at it in the browser
      kymflow-zarr tables experiment.zarr        its tables; head, cat and sql look into them
      kymflow-zarr export experiment.zarr out    TIFF, JSON and CSV files again

    An image is called by the name of its file, with folders where several have it, or by its id,
    which may be shortened. With --debug, or with
    KYMFLOW_ZARR_DEBUG=1 in the environment, an error shows its traceback.

    Exit codes: 0 fine, 1 problems were found, 2 could not run, 130 cancelled.
    """


for _command in (
    demo, ingest, refresh, info, ls, show, view, tables, head, cat, sql, summary, log,
    worklist, unblind, agreement, metadata, merge_edits, results, stale, explain, compute, export,
    pack, archive, copy, publish, delete, validate, verify, repair, pyramids, migrate, schema,
    completion,
):  # fmt: skip
    app.add_command(_command)
