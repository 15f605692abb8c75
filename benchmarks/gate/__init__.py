"""Does the release gate keep its error rates? On simulated measurements whose truth is known."""
