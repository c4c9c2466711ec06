FROM registry.example:5000/base:1
RUN echo '{"level":"info","msg":"starting","time":"2026-01-01T00:00:00Z"}' >&2
RUN echo '{"level":"fatal","msg":"fatal, says the server","time":"2026-01-01T00:00:00Z"}'
RUN echo '{"level":"info","msg":"Taking snapshot of full filesystem...","time":"2026-01-01T00:00:00Z"}' >&2; echo more
RUN echo 'error building image: error building stage: failed to execute command: waiting for process to exit: exit status 9' >&2
RUN echo 'INFO[0000] RUN echo not an instruction' >&2; echo 'Error: unknown flag: --x' >&2; echo 'Usage:' >&2; echo 'panic: no'
CMD ["x"]
