"""A stand-in for Microsoft Entra ID, for laptops and tests: never part of the gateway, which trusts it only if told to.

It serves discovery, keys and token endpoints over HTTPS, so MSAL talks to it by its public options alone (`authority`,
`instance_discovery=False`, `verify`). It gives tokens to whoever asks on this machine: nothing real may trust it.
"""
