"""A simulator of scaling by lag: Kubernetes's HPA, a group of consumers, and rules that say how many are needed."""
