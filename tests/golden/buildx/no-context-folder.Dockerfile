FROM registry.test/bb
COPY --from=two x /x
