"""One contender in a process of its own: `python -m tests.benchmarks.contender_child KEY BASE_URL CONCURRENCY LOOP MESSAGES [MARK ...]`.

It prints a JSON object with peaks in kilobytes: `imported` (before anything is sent), `sent`, and one for each mark (a number of messages).
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from tests.benchmarks.contenders import Setup, build


def peak_kilobytes() -> int:
    """Return the peak memory of this process.

    On Linux, `ru_maxrss` includes the memory of the parent at the fork; `VmHWM` does not.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Build the contender, send, and print the peaks."""
    key, base_url, concurrency, loop, messages, *marks = sys.argv[1:]
    peaks = {}
    contender = build(key, Setup(base_url, int(concurrency), loop))
    if contender is not None:
        contender.start()
        peaks["imported"] = peak_kilobytes()
        wanted = set(map(int, marks))

        def note(accepted: int) -> None:
            if accepted in wanted:
                peaks[str(accepted)] = peak_kilobytes()

        contender.progress = note if wanted else None
        accepted = contender.send(int(messages))
        peaks["sent"] = peak_kilobytes()
        contender.stop()
        if accepted != int(messages):
            raise SystemExit(f"{accepted} of {messages} messages were accepted")
    print(json.dumps(peaks))  # noqa: T201


if __name__ == "__main__":
    main()
