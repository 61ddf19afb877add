"""Many adapters on one server: which requests shared a step, and whose answer each one got."""
