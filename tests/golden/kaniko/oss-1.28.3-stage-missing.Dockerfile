FROM registry.example:5000/base:1
COPY --from=nosuch /x /y
