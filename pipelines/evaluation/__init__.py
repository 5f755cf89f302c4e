"""Models on benchmarks: drawn, checked, measured with intervals, compared, and graded again."""
