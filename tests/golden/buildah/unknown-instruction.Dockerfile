FROM registry.test:5000/base/busybox
FOO bar
