"""How a study is explored: study files, the pure rules, their Ray Tune shells, the command line."""
