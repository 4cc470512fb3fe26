"""What the ports answer: scoring and the catalogue to gateways, probes and figures to operators."""
