"""The clairvoyant optimum: the cheapest schedule that keeps a promise on a trace known in advance, and a bound that none goes below."""
