FROM registry.test:5000/base/busybox AS a
