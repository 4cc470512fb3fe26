# For tests: answers the marker of each row, after sleeping as long as the longest sleep_ms of its rows.
# Rscript train.R OUTDIR [VERSION]
arguments <- commandArgs(trailingOnly = TRUE)

echo <- function(model, newdata) {
  if (any(newdata$sleep_ms > 0)) Sys.sleep(max(newdata$sleep_ms) / 1000)
  newdata$marker
}

scoregate::package_model(
  list(),
  name = "echo", version = if (is.na(arguments[2])) "1" else arguments[2], dir = arguments[1], predict = echo,
  sample = data.frame(marker = c(0, 1, -1.5, 1e300, 123456789), sleep_ms = 0),
  description = "Answers its marker, after a sleep (for tests)"
)
