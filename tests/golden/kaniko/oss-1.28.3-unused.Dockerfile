FROM registry.example:5000/base:1 AS one
RUN echo one
FROM registry.example:5000/base:1 AS two
RUN echo two
FROM registry.example:5000/base:1
COPY --from=two /etc/passwd /p
RUN exit 6
