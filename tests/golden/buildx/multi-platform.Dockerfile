FROM --platform=$BUILDPLATFORM registry.test/bb AS b
RUN echo built on $BUILDPLATFORM for $TARGETPLATFORM > /out
FROM scratch AS out
COPY --from=b /out /out
maintainer x
