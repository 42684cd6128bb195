"""What a role is given of CPU and memory, held against what it was seen to use."""
