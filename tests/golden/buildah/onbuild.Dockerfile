FROM registry.test:5000/base/busybox AS a
ONBUILD RUN echo triggered
FROM a
RUN echo mine; exit 2
