"""What belongs to a frame, and whether the frame still runs."""

from __future__ import annotations

import subprocess
import sys

import kymflow_zarr

LOOKS = """
import gc, sys, threading
sys.path.insert(0, sys.argv[1])
from kymflow_zarr.runtime.scopes import Scoped

class Held(Scoped):
    def begin(self): return self
    def end(self): pass

class Cycle:
    pass

def hold():
    with Held() as held:
        shared.append(held)
        begun.set()
        stop.wait(60)

shared, begun, stop = [], threading.Event(), threading.Event()
other = threading.Thread(target=hold)
other.start()
begun.wait(60)
with Held() as mine:
    gc.set_threshold(1)  # The collector runs wherever Python makes an object.
    for held in (mine, *shared):
        for _ in range(200):
            cycle = Cycle()
            cycle.itself, cycle.local = cycle, threading.local()
            cycle.local.x = 1
            del cycle
            assert held.is_live()
stop.set()
other.join(60)
print(gc.isenabled(), shared[0].is_live())
"""


def test_looking_who_holds_a_lock_does_not_hang_while_garbage_is_collected() -> None:
    source = str(kymflow_zarr.__path__[0]).removesuffix("kymflow_zarr")
    command = [sys.executable, "-c", LOOKS, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["True", "False"], done.stderr
