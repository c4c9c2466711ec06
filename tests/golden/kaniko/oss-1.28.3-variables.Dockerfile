FROM registry.example:5000/base:1
ENV D=/d
WORKDIR $D
COPY a.txt $D/x
ARG N=1
LABEL v=${N}
RUN echo $N; exit 2
