"""The front door: what a service imports and what an operator runs."""

from freshline.shadowing import check_packages

check_packages()
