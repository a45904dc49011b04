"""Runs a command and prints what it cost as one JSON line: [wall seconds, CPU seconds, peak MB, exit code].

    python -S benchmarks/launcher.py OUT ERR SECONDS WORDS...

The command's output goes to the files OUT and ERR; after SECONDS it is killed with all that it started. A process
inherits the peak memory of the one that starts it: that is why this small one, without `site`, stands in between. Its
CPU seconds hold those of the children that it waited for. Its peak is what the kernel recorded for the largest process
or, if that is more, the largest sum over all of them that was seen every 50 ms; pages that they share count twice.
"""

import json
import os
import signal
import sys
import threading
import time

SAMPLED_EVERY_S = 0.05
KILLED = 137  # as a shell reports it


def descendants(pid: int) -> list[int]:
    """The process and all below it; only those that can be seen, so none where there is no /proc."""
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                    waiting += [int(child) for child in file.read().split()]
        except OSError:  # it has ended, or this is no Linux
            continue
        found.append(pid)
    return found


def resident_bytes(pid: int) -> int:
    """What the process holds in memory now; 0 once it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main() -> None:
    out, err, limit, *words = sys.argv[1:]
    writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    started = time.perf_counter()
    pid = os.posix_spawnp(
        words[0],
        words,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, out, writing, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, err, writing, 0o600),
        ],
        setpgroup=0,
    )
    ended, peak = threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(SAMPLED_EVERY_S):
            peak[0] = max(peak[0], sum(resident_bytes(one) for one in descendants(pid)))
            if time.perf_counter() - started > float(limit):
                os.killpg(pid, signal.SIGKILL)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        _, status, usage = os.wait4(pid, 0)
    except KeyboardInterrupt:
        os.killpg(pid, signal.SIGKILL)
        raise
    wall = time.perf_counter() - started
    ended.set()
    watcher.join()
    largest = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    code = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    print(json.dumps([wall, seconds, max(largest, peak[0]) / 1e6, KILLED if code == -signal.SIGKILL else code]))


if __name__ == "__main__":
    main()
