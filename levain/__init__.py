"""The command line, and a room for each thing that it does.

`warehouse` builds tables, `read` answers from them, `local` runs the stack on one machine, `samples` is the example
company, `dev` is for those who change the models. docs/architecture.md shows which may import which.
"""
