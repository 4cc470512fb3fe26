"""For laptops and tests only: an Entra stand-in, certificates, starting and stopping a stack."""
