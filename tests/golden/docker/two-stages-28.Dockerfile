ARG X=1
FROM bpdocker/base:1 AS a
RUN echo out; echo err >&2; printf 'Step 3/6 : RUN no\n ---> Using cache\nunended'
FROM bpdocker/base:1
COPY --from=a /bin/sh /x
RUN echo
