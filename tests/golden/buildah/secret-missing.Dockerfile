FROM registry.test:5000/base/busybox
RUN --mount=type=secret,id=t,required=true true
