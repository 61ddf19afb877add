"""What the cases call: ask, compare, judge."""
