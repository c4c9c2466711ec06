FROM registry.test/bb
RUN --mount=type=ssh,required=true true
