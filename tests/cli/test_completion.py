"""Completing words in real shells: what a dataset holds is never run."""

from __future__ import annotations

import os
import pty
import select
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset

SHELLS = [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)]
START = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
SETUP = {
    "bash": 'eval "$(kymflow-zarr completion bash)"',
    "zsh": 'autoload -U compinit; compinit -D -u; eval "$(kymflow-zarr completion zsh)"',
    "fish": "kymflow-zarr completion fish | source",
}
HOSTILE = (
    "$(touch PWNED)", "`touch PWNED`", "a;touch PWNED", "a|touch PWNED", "a&touch PWNED",
    "a' ; touch PWNED ; '", 'a" ; touch PWNED ; "', "a>PWNED", "a b", "!!", "~", "a,b", "a:b=c",
    "{a,b}", "*", "#a", "a\\", "é ü", "$HOME", "%1", "[a]",
)  # fmt: skip


class Shell:
    """An interactive shell in a terminal."""

    def __init__(self, name: str, folder: Path) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(
                PATH=f"{folder / 'bin'}:{os.environ['PATH']}", TERM="dumb", HISTFILE="",
                HOME=str(folder), PS1="$ ", XDG_CONFIG_HOME=str(folder), LC_ALL="C.UTF-8",
            )  # fmt: skip
            os.execvp(name, [name, *START[name]])
        self.written = ""

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, path: Path, limit_s: float = 60.0) -> bool:
        """Return True when a file is there."""
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            self.read(0.05)
            if path.exists():
                return True
        return False

    def read(self, for_s: float) -> None:
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            if select.select([self.terminal], [], [], left_s)[0]:
                try:
                    self.written += os.read(self.terminal, 65536).decode(errors="replace")
                except OSError:
                    return

    def close(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


def install(folder: Path) -> None:
    """Put a program into the folder that completes as ours, and writes down how it was called."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "kymflow-zarr"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "if '_KYMFLOW_ZARR_COMPLETE' in os.environ or sys.argv[1] == 'completion':\n"
        "    from kymflow_zarr.cli import main\n"
        "    try:\n"
        "        main()\n"
        "    finally:\n"
        f"        open({str(folder / 'completed')!r}, 'a').close()\n"
        f"open({str(folder / 'called.part')!r}, 'w').write(repr(sys.argv[1:]))\n"
        f"os.replace({str(folder / 'called.part')!r}, {str(folder / 'called')!r})\n"
    )
    program.chmod(0o755)


def called_with(shell: str, folder: Path, line: str) -> list[str] | None:
    """Type a line with a Tab at its end, then Enter; return the arguments that the program got."""
    running = Shell(shell, folder)
    try:
        running.type(f"{SETUP[shell]}\n")
        running.type(f"{'touch ready'}\n")
        assert running.wait_for(folder / "ready"), running.written
        (folder / "completed").unlink(missing_ok=True)
        running.type(f"{line}\t")
        assert running.wait_for(folder / "completed"), running.written
        running.read(0.5)
        running.type("\n")
        if not running.wait_for(folder / "called", 10.0):
            return None
        running.read(0.3)
        return list(eval((folder / "called").read_text()))
    finally:
        running.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    install(tmp_path)
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("image_id", HOSTILE)
def test_a_completed_id_is_the_argument_whatever_it_holds(
    folder: Path, shell: str, image_id: str
) -> None:
    with ZarrDataset(folder / "gift.zarr", "w-") as ds:
        ds.add_image(np.ones((3, 3)), image_id=image_id)
    got = called_with(shell, folder, "kymflow-zarr show gift.zarr ")
    # fish does not quote the name of the home folder, so that such an id is not offered there.
    offered = [] if shell == "fish" and image_id.startswith("~") else [image_id]
    assert got == ["show", "gift.zarr", *offered]
    assert not (folder / "PWNED").exists()


@pytest.mark.parametrize("begun", ["'a", '"a', "a", "\\$\\(to", "'$(to", '"\\$(to', "'q", '"q'])
def test_a_word_that_is_begun_in_quotes_is_completed_in_them(folder: Path, begun: str) -> None:
    with ZarrDataset(folder / "gift.zarr", "w-") as ds:
        ids = {"a": "a $(touch PWNED) 'b' \"c\"!", "o": "$(touch PWNED)", "q": "q'\"q'\""}
        image_id = ids[begun[-1]]
        ds.add_image(np.ones((3, 3)), image_id=image_id)
    got = called_with("bash", folder, f"kymflow-zarr show gift.zarr {begun}")
    assert got == ["show", "gift.zarr", image_id]
    assert not (folder / "PWNED").exists()


@pytest.mark.parametrize("begun", ["a:b:", "a\\:b\\:", "'a:b:", "a:"])
def test_a_word_with_breaks_of_bash_is_completed_once(folder: Path, begun: str) -> None:
    with ZarrDataset(folder / "gift.zarr", "w-") as ds:
        ds.add_image(np.ones((3, 3)), image_id="a:b:c=d")
    got = called_with("bash", folder, f"kymflow-zarr show gift.zarr {begun}")
    assert got == ["show", "gift.zarr", "a:b:c=d"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("image_id", ["two\nlines", "a\x1b]0;owned\x07", "a\x03;touch PWNED\r"])
def test_an_id_with_control_characters_is_not_offered(
    folder: Path, shell: str, image_id: str
) -> None:
    with ZarrDataset(folder / "gift.zarr", "w-") as ds:
        ds.add_image(np.ones((3, 3)), image_id=image_id)
    got = called_with(shell, folder, "kymflow-zarr show gift.zarr ")
    assert got == ["show", "gift.zarr"]
    assert not (folder / "PWNED").exists()
