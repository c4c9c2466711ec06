FROM registry.test/bb
RUN nosuchprogram --flag
