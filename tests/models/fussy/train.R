# For tests: a model that fails on a missing value, so its column is not nullable. Rscript train.R OUTDIR
fussy <- function(model, newdata) {
  if (anyNA(newdata$speed)) stop("speed must not be missing")
  2 * newdata$speed
}

scoregate::package_model(
  list(),
  name = "fussy", version = "1", dir = commandArgs(trailingOnly = TRUE)[1], predict = fussy, sample = cars["speed"],
  description = "Fails on a missing value (for tests)"
)
