FROM --platform=linux/amd64 registry.test/bb as x
MAINTAINER me
ENV FOO bar
ARG PASSWORD=x
CMD echo hi
