"""Results: what every table holds, and the statistics that figures and claims share."""
