# a comment
FROM registry.test/bb
ARG A=1
COPY a.txt /
RUN echo before

RUN sh -c 'echo MARK >&2; \
  exit 7'
RUN echo never
