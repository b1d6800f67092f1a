"""Targets with scripted latencies: their clock advances as the script says.

Files are JSON: {"script": NAME, "milliseconds": X}. Everything but the time is real: processes,
commands, rounds.
"""

import json
import os
import random
import signal
import time

from benchmarks.record import Configuration, OperatorTime
from slide_deploy.backends.base import Availability, FunctionStream, Port, Session, Target
from slide_deploy.errors import InputError

VARIABLE = "SCRIPTED_VARIABLE"


class Clock:
    """A clock that advances by scripted latencies, and by 1 us when it is read without a call.

    So a call takes exactly its time, and who waits for a time to pass gets there.
    """

    def __init__(self):
        self.now, self._told = 0, -1

    def __call__(self):
        if self.now == self._told:
            self.now += 1000
        self._told = self.now
        return self.now


def latency(settings: dict, call: int, now: int, draw: random.Random) -> int:
    """Nanoseconds of the call with that number at that time."""
    script, base = settings["script"], round(settings["milliseconds"] * 1e6)
    if script == "noisy":
        return round(base * draw.lognormvariate(0, 0.05))
    if script == "bimodal":
        return base if draw.random() < 0.7 else round(1.5 * base)
    if script == "spiking":
        return 5 * base if call % 50 == 49 else round(base * draw.lognormvariate(0, 0.02))
    if script == "drifting":  # 20 % in a second
        return round(base * (1 + 0.2 * now / 1e9))
    if script == "throttling":
        return base if call < settings.get("after", 300) else round(1.5 * base)
    if script == "settling":
        return round(base * (1 + 4 * 0.97**call))
    if script == "unsettled":
        return round(base * 1.01 ** (call % 700))
    return base


def open_script(path, configuration: Configuration, stage) -> Session:
    with stage("import"):
        settings = json.loads(path.read_text())
    with stage("read"):
        script = settings["script"]
        if script == "refused":
            raise InputError(f"{path} does not load: it is scripted so.")
        if script == "raises on load":
            raise ValueError("the vendor's own words\nover two lines")
    with stage("compile"):
        if script == "out of memory":
            raise MemoryError
        if script == "hangs":
            time.sleep(3600)
    clock, draw, calls = Clock(), random.Random(settings.get("seed", 0)), 0
    fail_at = settings.get("fail_at", 400)

    def run() -> None:
        nonlocal calls
        if calls >= fail_at:
            if script == "raises":
                raise RuntimeError("the device was removed")
            if script == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if script == "exits":
                print("a last word")
                os._exit(7)
        clock.now += latency(settings, calls, clock.now, draw)
        calls += 1

    facts = {"variable": os.environ[VARIABLE]} if VARIABLE in os.environ else {}
    inputs = (Port("x", (configuration.batch, 3, 8, 8)),)
    return Session(
        "scripted", "1", inputs, (), lambda: FunctionStream(lambda feeds: run()), facts, clock=clock
    )


def profile(path, configuration, calls):
    return [OperatorTime("a", "Conv", 1_000_000), OperatorTime("b", "MatMul", 3_000_000)]


scripted = Target(
    "tests.benchmarks.scripted:scripted",
    (".json",),
    lambda: Availability(True, "scripted"),
    open_script,
    profile=profile,
)
