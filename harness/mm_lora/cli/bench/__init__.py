"""What a run costs: `make bench` measures in one go and shows ratios, which outlive a machine."""
