"""The rivals against the real thing: what a real HorizontalPodAutoscaler does with programmed metrics, and whether ours does the same."""
