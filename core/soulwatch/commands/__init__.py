"""The commands of the command line, a room for each group of them; none is imported before it is asked for."""
