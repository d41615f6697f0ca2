"""Run a program that dies with the process that started it, also when that one is killed with SIGKILL.

    python -I -S launch.py PARENT_PID PROGRAM ARGUMENT…

A step of its own between fork and exec: Python code in the child of a process with threads (`preexec_fn`) may
deadlock. The program replaces this one, so that its process id is the one that was started.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives exec

if __name__ == "__main__":
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit("the process that started this is gone")
    os.execv(sys.argv[2], sys.argv[2:])
