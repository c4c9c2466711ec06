FROM registry.test/bb
WORKDIR /w
COPY a.txt /w/
RUN echo hello; echo err >&2; printf 'gr\303\274n\nno newline'
