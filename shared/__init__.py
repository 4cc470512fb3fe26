"""What the gateway and the scorer both need, and nothing else: the wire, signatures, errors, deadlines, settings, logs."""
