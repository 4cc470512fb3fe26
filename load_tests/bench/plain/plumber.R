# Plain Plumber, as one would write it without scoregate: rows of JSON in, predictions out. MODEL is the model's file.
suppressPackageStartupMessages({
  library(randomForest)
  library(ranger)
})
model <- readRDS(Sys.getenv("MODEL"))

#* @post /score
function(req) {
  answer <- predict(model, req$body)
  unname(if (is.list(answer)) answer$predictions else answer)
}

#* @get /ready
function() TRUE
