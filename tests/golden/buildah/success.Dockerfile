ARG BASE=registry.test:5000/base/busybox
FROM $BASE AS one
ENV A=1
RUN echo hello; sleep 0.2; echo warning >&2; sleep 0.2
COPY f /f
FROM registry.test:5000/base/busybox
COPY --from=one /f /g
WORKDIR /w
RUN printf "no line end"
CMD ["sh"]
