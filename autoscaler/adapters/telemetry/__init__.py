"""What the controller tells about itself: metrics, records of every tick, structured logs."""
