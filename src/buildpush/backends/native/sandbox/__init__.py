"""Where RUN is executed: the parent's end, and the launcher that a fresh process runs."""
