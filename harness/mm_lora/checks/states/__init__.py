"""States that short, equal, undisturbed requests do not reach: late, several, preempted, far."""
