FROM registry.example:5000/base:1
RUN <<EOF
echo in a heredoc
exit 8
EOF
