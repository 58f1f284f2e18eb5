"""Exit statuses: the same five for every command, so that a script learns them once."""

SUCCESS = 0
FAILURE = 1
"""What was asked for has failed or is not there: a failure state, an unknown id, a waiter file with problems."""
USAGE = 2
"""The command line, the configuration or a waiter definition is wrong; nothing was done."""
TIMED_OUT = 3
UNAVAILABLE = 4
"""AWS or Redis refused, or cannot be reached."""
INTERRUPTED = 130
"""Ctrl-C, as a shell counts it."""
