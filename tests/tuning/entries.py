"""Entries of a tuning table, made up."""

from typing import Any

from slide_deploy.tuning.table import Entry, Geometry, Trial, best


def geometry(**changed: Any) -> Geometry:
    settings: dict[str, Any] = {
        "channels": 96,
        "heads": 3,
        "head_dim": 32,
        "kernel_size": 3,
        "height": 56,
        "width": 56,
        "layout": "tokens",
    }
    return Geometry(**(settings | changed))


def entry(winner: str = "flat/4", target: str = "onnxruntime:cpu", **changed: Any) -> Entry:
    """``winner`` takes 0.8 of the time of the depthwise form."""
    trials = [Trial("depthwise", 10.0, 1.0, 1.0, 1.0, True)]
    if winner != "depthwise":
        trials.append(Trial(winner, 8.0, 0.8, 0.78, 0.83, True))
    settings: dict[str, Any] = {
        "target": target,
        "precision": "float32",
        "geometry": geometry(),
        "threads": 2,
        "winner": best(tuple(trials), "depthwise"),
        "baseline": "depthwise",
        "trials": tuple(trials),
        "dropped": {},
        "machine": {"processor": "Some Processor"},
        "runtime": "onnxruntime 1.32.0",
        "date": "2026-01-02T03:04:05+00:00",
        "command": "slide-deploy tune",
    }
    return Entry(**(settings | changed))
