"""A program of its own, run by ``cosim.dss_trial`` as a script: OpenDSS compiles a circuit where nobody is harmed.

It imports the engine's library and nothing else: a whole OpenDSSDirect with pandas takes ten times as long to start.
Called with the limit of CPU time [s] and text commands, the first of which compiles. Exit code ``REFUSED`` and the
engine's own words on standard error where the first is refused; what the others say is asked again where it counts.
"""

import os
import sys
from contextlib import suppress
from typing import Any

REFUSED = 3
"""Exit code that neither Python nor the engine ends with by itself."""


def _hold_back(cpu_s: int) -> None:
    """Bound what a broken file can take from the machine, also where the parent dies first."""
    with suppress(ImportError, ValueError, OSError):  # none of it on Windows; a smaller limit of the shell's stays
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def _main(cpu_s: str, *commands: str) -> int:
    _hold_back(int(cpu_s))
    from dss_python_backend import ffi, lib

    # functions that take a context have a prefix in OpenDSSDirect 0.9, and are the only ones in 0.10
    prefix, engine = "ctx_" if hasattr(lib, "ctx_Text_Set_Command") else "", lib.ctx_Get_Prime()

    def call(name: str, *arguments: object) -> Any:
        return getattr(lib, prefix + name)(engine, *arguments)

    for habit in ("Forms", "Editor", "ChangeDir"):
        call(f"DSS_Set_Allow{habit}", 0)
    error = call("Error_Get_NumberPtr")
    for place, command in enumerate(commands):
        error[0] = 0
        call("Text_Set_Command", os.fsencode(command))
        if error[0] and place == 0:
            sys.stderr.buffer.write(b"(#%d) %s" % (error[0], ffi.string(call("Error_Get_Description"))))
            return REFUSED
    return 0


if __name__ == "__main__":
    status = _main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # the engine's own farewell takes a tenth of a second
