"""Memory in huge pages, which a program must have asked for before it starts."""

import contextlib
import os
import platform
import sys
import threading

# XLA on a CPU takes hundreds of MiB from the system at each step, and gives them back at its end.
# Cleared and mapped in pages of 4 KiB they cost a tenth of a training step. glibc knows the setting
# from 2.35 on; the kernel heeds it where transparent huge pages are at `madvise`.
VARIABLE, SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_MARK = "huge_pages"  # python -X huge_pages: it has started again already


def use() -> None:
    """Starts this program once more, in its place, with `SETTING`.

    glibc reads its settings at the start of a process only. The process id, the
    arguments and what was inherited stay; all that was done is lost, so call it
    first. Nothing happens where the environment has settings of its own (empty
    ones too), under another libc, and in a process with threads, which is
    somebody else's: a notebook's.
    """
    is_asked_for = VARIABLE in os.environ or _MARK in sys._xoptions
    if is_asked_for or platform.libc_ver()[0] != "glibc" or threading.active_count() > 1:
        return
    again = [sys.executable, "-X", _MARK, *sys.orig_argv[1:]]
    with contextlib.suppress(OSError, ValueError):  # it does without
        os.execve(sys.executable, again, os.environ | {VARIABLE: SETTING})
