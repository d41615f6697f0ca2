"""What ships with the replay: the standard scenario's manifest and scenario, and small made traces."""
