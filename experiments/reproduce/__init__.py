"""The seeds' studies, told again with this project's models: ``cosim reproduce STUDY``.

A study is a module here with a function ``reproduce`` that computes and writes its folder, and a command of its own in
``cosim.experiments.reproduce.command``, with the options that it takes. Nothing is imported before it is asked for.
"""

from __future__ import annotations

STUDIES: dict[str, str] = {
    "powertrip": "Three charge points and twelve roofs: phase unbalance, what control does, and what the index hides.",
}
"""Name of each study, and what it is about."""
