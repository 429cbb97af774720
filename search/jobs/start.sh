#!/bin/sh
# The first process of a job: hands over to the Python that Ray on this node runs its workers with, so that driver and
# trials run on the same one. Ray does not tell a job which that is; the command line of the raylet, whose child this
# shell's parent is, does. Where it cannot be read, the first python on the PATH has to do.
raylet=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$PPID/status" 2>/dev/null)
python=$(tr '\0' '\n' <"/proc/$raylet/cmdline" 2>/dev/null | sed -n 's/^--python_worker_command=\([^ ]*\) .*/\1/p')
exec "${python:-python}" -m search.jobs.start "$@"
