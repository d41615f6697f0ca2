"""The world's side of the ports. Adapters know the ports and the core, never the controller and never each other."""
