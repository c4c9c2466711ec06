FROM bpdocker/base:1
COPY nope /f
