# How far a car takes to stop: a linear model, answered with its prediction interval. Rscript train.R OUTDIR
out <- commandArgs(trailingOnly = TRUE)[1]

fit <- lm(dist ~ poly(speed, 2), data = cars)

scoregate::package_model(
  fit,
  name = "cars-interval", version = "1", sample = cars, dir = out,
  interval = "prediction", level = 0.95, slim = TRUE,
  description = "Stopping distance in ft at a speed in mph, with the interval that holds 95 % of new cases (1920s cars)"
)
