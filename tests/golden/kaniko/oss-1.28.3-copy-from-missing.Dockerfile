FROM registry.example:5000/base:1
COPY --from=registry.example:5000/nosuch:1 /x /y
