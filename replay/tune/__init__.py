"""``replay tune``: the best parameters of a service's policies on recorded traffic, judged on traffic that the search never saw."""
