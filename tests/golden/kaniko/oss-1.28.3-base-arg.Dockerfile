ARG NAME=registry.example:5000/nosuch
FROM registry.example:5000/base:1 AS one
FROM $NAME:1
COPY --from=one / /
