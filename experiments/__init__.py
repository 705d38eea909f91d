"""Questions: scenarios, composition, command line, comparison, figures, report, benchmarks."""
