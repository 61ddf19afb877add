"""What differs by architecture, one folder a family."""
