"""The command line. Modules here only read arguments; what they start is imported when it starts."""
