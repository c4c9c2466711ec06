FROM registry.test:5000/base/busybox
RUN sh -c "echo MARK >&2; exit 7"
