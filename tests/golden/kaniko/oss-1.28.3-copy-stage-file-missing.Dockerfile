FROM registry.example:5000/base:1
RUN true
FROM registry.example:5000/base:1
COPY --from=0 /nothere /x
