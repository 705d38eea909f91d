"""Controllers of a study set beside each other: means with intervals, paired differences, who wins how often."""
