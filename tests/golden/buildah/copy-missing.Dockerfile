FROM registry.test:5000/base/busybox
COPY nothing /x
