"""How fast it is, against floors and peers in the same run."""
