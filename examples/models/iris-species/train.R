# The species of an iris: a multinomial regression, answered as class and probabilities. Rscript train.R OUTDIR
out <- commandArgs(trailingOnly = TRUE)[1]

fit <- nnet::multinom(Species ~ ., data = iris, trace = FALSE)

scoregate::package_model(
  fit,
  name = "iris-species", version = "1", sample = iris, dir = out,
  description = "Species of an iris from four measures of its flower, in cm, with the probability of each species"
)
