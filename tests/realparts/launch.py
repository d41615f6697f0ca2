"""Run a program that dies with the process that started it, also when that one is killed with SIGKILL.

    python -I -S launch.py PARENT_PID DONE_FD PROGRAM ARGUMENT…

A step of its own between fork and exec: Python code in the child of a process with threads (`preexec_fn`) may
deadlock. The program replaces this one, so that its process id is the one that was started. The end of the pipe
DONE_FD closes when it has: before that the program is not bound to its parent yet, and must not be frozen.
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
    os.set_inheritable(int(sys.argv[2]), False)  # exec closes it
    os.execv(sys.argv[3], sys.argv[3:])
