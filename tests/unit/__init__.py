"""Tests of one part, in one process; HTTP on loopback where it matters."""
