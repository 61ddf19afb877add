"""Values and ground that every room may use: errors, requests and answers, outcomes, cache."""
