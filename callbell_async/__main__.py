"""`python -m callbell_async` runs the command `callbell-async`."""

from callbell_async.cli import main

main()
