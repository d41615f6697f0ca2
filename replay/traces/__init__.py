"""Recorded traffic: file formats, and the way from counts to the arrivals that a plant is fed with."""
