"""Many adapters on one server: whose requests met in a step, and whose answer each of them got."""
