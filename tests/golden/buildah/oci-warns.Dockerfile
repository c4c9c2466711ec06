FROM registry.test:5000/base/busybox
HEALTHCHECK CMD true
