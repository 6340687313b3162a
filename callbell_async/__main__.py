"""`python -m callbell_async` is `callbell-async`."""

from callbell_async.cli import main

main()
