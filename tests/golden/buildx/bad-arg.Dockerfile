FROM registry.test/bb
COPY --from=nosuch a b
