# syntax=down.test/dockerfile:1
FROM registry.test/bb
