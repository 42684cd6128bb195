"""The front door: what a service imports and what an operator runs."""
