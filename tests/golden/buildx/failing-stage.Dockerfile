FROM registry.test/bb AS tools
RUN echo tools
FROM registry.test/bb AS app
COPY --from=tools /etc/passwd /p
WORKDIR /x
RUN --mount=type=cache,target=/c echo no such file >&2; false
