"""Load on a running gateway, by Locust (`./dev load`); and in `bench` what is measured and quoted."""
