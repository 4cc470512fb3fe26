"""The internal service that serves model versions from R: one zygote per version, forked workers, no user JSON, no Entra token."""
