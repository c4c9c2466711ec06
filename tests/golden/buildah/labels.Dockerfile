FROM registry.test:5000/base/busybox
RUN exit 4
