FROM registry.test/large
FROM scratch
COPY --from=0 / /
COPY --from=0 / /b
