"""Jobs of the process reward model on files of any size: labels, training, scores and benchmarks."""
