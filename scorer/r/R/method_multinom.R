# multinom (nnet): class and probabilities of all levels. predict() gives only P(second) for two classes and a bare
# vector for one row, and draws the class at random among probabilities within 1e-5 of each other: here it is the first
# maximum.

model_predict.multinom <- function(model, newdata, options) {
  levels <- if (length(model$lev) > 0L) model$lev else model$lab
  probabilities <- stats::predict(model, newdata, type = "probs")
  probabilities <- if (length(levels) == 2L) {
    cbind(1 - as.vector(probabilities), as.vector(probabilities))
  } else {
    matrix(probabilities, ncol = length(levels))
  }
  class_and_probabilities(probabilities, levels)
}

model_packages.multinom <- function(model) {
  "nnet"
}

model_options.multinom <- function(model, options) {
  refuse_options(options, "a multinom answers its class and probabilities")
}

model_slim.multinom <- function(model) {
  drop_parts(model, c("residuals", "fitted.values", "weights", "model", "Hessian"))
}
