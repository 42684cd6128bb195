"""The outside world, one small folder a thing. Nothing here knows why it is called."""
