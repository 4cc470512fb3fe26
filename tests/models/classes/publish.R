# For tests: fits, packages and publishes one model per class, and writes CLASS.csv with rows to verify it on: missing
# values in every column that takes them.
#   Rscript publish.R STORE_URL FOLDER CLASS...
arguments <- commandArgs(trailingOnly = TRUE)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "data.R"), encoding = "UTF-8")
source(file.path(here, "fits.R"), encoding = "UTF-8")

training <- typed_rows(400L, 1L)
responses <- c("y", "two", "three", "count", "time", "status")

# Those whose functions stand in formulas, or that only fit when attached.
suppressPackageStartupMessages({
  library(survival)
  library(mgcv)
  library(earth)
})

for (class in arguments[-(1:2)]) {
  set.seed(3)
  fitted <- suppressWarnings(fits[[class]](training))
  dir <- file.path(arguments[2L], class)
  do.call(scoregate::package_model, c(
    list(fitted[[1L]], name = class, version = "1", sample = training, dir = dir, quiet = TRUE), fitted[-1L]
  ))
  manifest <- jsonlite::fromJSON(file.path(dir, "manifest.json"), simplifyVector = FALSE)
  rows <- typed_rows(150L, 2L)
  takes <- Filter(function(field) field$nullable, manifest$signature$inputs)
  for (j in seq_along(takes)) rows[[takes[[j]]$name]][seq(j, nrow(rows), by = 11L + j)] <- NA
  write_rows(rows[setdiff(names(rows), setdiff(responses, vapply(manifest$signature$inputs, `[[`, "", "name")))],
    file.path(arguments[2L], paste0(class, ".csv")))
  scoregate::publish_model(dir, arguments[1L])
}
