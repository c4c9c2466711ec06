# syntax=docker/dockerfile:1
ARG WORD=hello
FROM registry.example:5000/base:1 AS build
ARG WORD
WORKDIR /src
RUN echo "$WORD to stdout"; echo "and to stderr" >&2; \
    mkdir /o && echo made > /o/f
RUN printf 'no line end'
RUN printf 'no line end on stderr' >&2
RUN printf '10%%\r100%%\n'
FROM registry.example:5000/base:1
MAINTAINER somebody
COPY --from=build /o/f /app/f
ADD a.txt /app/
ENV A=b
RUN echo twice
RUN echo twice
CMD ["cat", "/app/f"]
