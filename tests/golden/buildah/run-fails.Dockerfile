FROM registry.test:5000/base/busybox AS a
RUN echo fine

FROM a
RUN echo one \
    && sleep 0.2 && sh -c "echo MARK >&2; exit 7"
RUN echo never
