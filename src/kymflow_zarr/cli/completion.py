"""``kymflow-zarr completion``, and the completion classes of the shells.

Names in a dataset are not trusted, and bash inserts completions unquoted: a name like
``$(command)`` would run at the next Enter. Completions for bash are therefore quoted here; zsh and
fish quote them themselves.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from kymflow_zarr.cli.options import debug_option

__all__ = ["completion"]

_PLAIN: Final = frozenset("_./,+-")
_ENDS_WORD: Final = frozenset(" \t\n;|&()<>")
# Bash before 4.4 has no nosort. COMP_POINT counts bytes, so the line is cut in the C locale.
_BASH: Final = """\
%(complete_func)s() {
    local item line
    line=$(LC_ALL=C; printf %%s "${COMP_LINE:0:COMP_POINT}")
    COMPREPLY=()
    while IFS= read -r item; do
        case $item in
            dir,*) compopt -o dirnames ;;
            file,*) compopt -o default ;;
            plain,*) COMPREPLY+=("${item#plain,}") ;;
        esac
    done < <(env COMP_LINE="$line" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null ||
    complete -F %(complete_func)s %(prog_name)s
"""
# Based on click's script, which splits a name at a comma.
_FISH: Final = """\
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \
COMP_CWORD=(commandline -t) %(prog_name)s)
    for completion in $response
        set -l metadata (string split -m 1 "," -- $completion)
        switch $metadata[1]
            case dir
                __fish_complete_directories $metadata[2]
            case file
                __fish_complete_path $metadata[2]
            case plain
                printf '%%s\\n' $metadata[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


@dataclass(frozen=True)
class _Word:
    """The word at the end of a command line.

    Parameters
    ----------
    start : int
        Start of the word in the line.
    kept : int
        Start of the part that bash replaces, after its last word break.
    quote : str
        The quote that is open at the end of the word; empty if none is.
    mixed : bool
        Whether the word has other quotes too, so that the replaced part is uncertain.
    """

    start: int
    kept: int
    quote: str
    mixed: bool

    @classmethod
    def last_of(cls, line: str, breaks: str) -> _Word:
        start, kept, quote, mixed = 0, 0, "", False
        escaped = False
        for at, letter in enumerate(line):
            if escaped:
                escaped = False
            elif letter == "\\" and quote != "'":
                escaped = True
            elif quote:
                if letter == quote:
                    quote, mixed = "", True
            elif letter in _ENDS_WORD:
                start, kept, mixed = at + 1, at + 1, False
            elif letter in "'\"":
                mixed = mixed or at != kept
                quote, kept = letter, at + 1
            elif letter in breaks:
                kept = at + 1
        return cls(start, kept, quote, mixed)


class _Bash(BashComplete):
    """Completion for bash, of quoted words."""

    source_template = _BASH
    _word: _Word
    _before: str

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        self._word = _Word.last_of(line, os.environ["COMP_WORDBREAKS"])
        start, kept = self._word.start, self._word.kept
        before = line[start:kept].removesuffix(self._word.quote)
        self._before = _unquoted(before)
        return split_arg_string(line[:start])[1:], self._before + _unquoted(
            self._word.quote + line[kept:]
        )

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        if self._word.mixed:
            return []
        items = super().get_completions(args, incomplete)
        return [
            item
            for item in items
            if item.type != "plain"
            or (item.value.isprintable() and item.value.startswith(self._before))
        ]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        if item.type != "plain":
            return f"{item.type},"
        return f"plain,{_quoted(item.value[len(self._before) :], self._word.quote)}"


def _unquoted(word: str) -> str:
    """Return a word without its quotes; one quote may be open at its end."""
    # In double quotes shlex keeps backslashes before characters that only a shell escapes.
    if word.startswith('"'):
        word = re.sub(r"\\([$`])", r"\1", word)
    return next(iter(split_arg_string(word)), "")


def _quoted(text: str, quote: str) -> str:
    """Return a text escaped for bash, outside of quotes or inside of an open quote."""
    if not quote:
        return "".join(c if c.isalnum() or c in _PLAIN else f"\\{c}" for c in text)
    if quote == "'":
        quoted = text.replace("'", "'\\''")
    else:
        special = {**{c: f"\\{c}" for c in '"\\$`'}, "!": '"\\!"'}
        quoted = "".join(special.get(c, c) for c in text)
    # Bash closes the quote itself, unless the text ends with a quote.
    return quoted + quote if quoted.endswith(quote) else quoted


class _Fish(FishComplete):
    """Completion for fish, of names with commas too."""

    source_template = _FISH

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        # fish does not quote "~", the home folder.
        items = super().get_completions(args, incomplete)
        return [item for item in items if not str(item.value).startswith("~")]


add_completion_class(_Bash)
add_completion_class(_Fish)


@click.command(short_help="Print what makes the shell complete commands.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options, image ids and tables.

    A name with control characters is not offered.

    \b
    Examples:
      eval "$(kymflow-zarr completion bash)"     in ~/.bashrc
      eval "$(kymflow-zarr completion zsh)"      in ~/.zshrc
      kymflow-zarr completion fish > ~/.config/fish/completions/kymflow-zarr.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click has validated the choice
    program = "kymflow-zarr"
    click.echo(kind(ctx.find_root().command, {}, program, "_KYMFLOW_ZARR_COMPLETE").source())
