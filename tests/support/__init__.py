"""What the tests stand on: clocks and servers."""
