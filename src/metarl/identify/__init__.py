"""Which estimator does a gradient come from? Bundles of any code base beside the catalogue."""
