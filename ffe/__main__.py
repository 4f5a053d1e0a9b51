"""`python -m ffe` is the command line."""

from ffe.cli import main

main()
