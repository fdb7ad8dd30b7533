"""What operators do with the exchange's folder beside the running service: look, verify, copy, take out, bring in."""
