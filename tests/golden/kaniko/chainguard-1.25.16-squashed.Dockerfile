FROM registry.example:5000/base:1 AS one
RUN echo same
FROM one AS two
RUN echo same
FROM two
RUN echo same; exit 4
