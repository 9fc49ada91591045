"""From the likelihood at the peaks to what is reported, and with what score."""
