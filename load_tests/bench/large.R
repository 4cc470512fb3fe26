# Plain Plumber with JSON, as one would write it without scoregate: Rscript --vanilla large.R MODEL.rds PORT
arguments <- commandArgs(trailingOnly = TRUE)
model <- readRDS(arguments[[1]])
suppressMessages(library(randomForest))

score <- function(req) {
  unname(predict(model, req$body))
}

router <- plumber::pr()
router <- plumber::pr_post(router, "/score", score)
router <- plumber::pr_get(router, "/ready", function() TRUE)
plumber::pr_run(router, port = as.integer(arguments[[2]]), quiet = TRUE)
