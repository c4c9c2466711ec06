FROM registry.test/bb AS t
FROM registry.test/bb
COPY --from=t /not/there /x
