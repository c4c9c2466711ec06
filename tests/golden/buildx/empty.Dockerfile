
# nothing
