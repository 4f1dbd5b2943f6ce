"""Results: what every table holds, how it is read, and the statistics that figures and claims share."""
