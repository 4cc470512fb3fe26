# For tests: takes 20 ms a request, and answers depend on a request's other rows, so none share a call: 50 requests a
# second and worker are all it can do.
# Rscript train.R OUTDIR
arguments <- commandArgs(trailingOnly = TRUE)

slow <- function(model, newdata) {
  Sys.sleep(0.02)
  newdata$marker - mean(newdata$marker)
}

scoregate::package_model(
  list(),
  name = "slow", version = "1", dir = arguments[1], predict = slow,
  sample = data.frame(marker = c(0, 1, -1.5, 7, 1234)),
  description = "Centres its markers, after 20 ms (for tests)"
)
