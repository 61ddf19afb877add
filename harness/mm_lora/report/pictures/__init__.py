"""The pictures of a report as plain numbers in percent of a width; templates draw them as SVG."""
