# nnet: a regression's values; a classification's probabilities of all levels and their first maximum. predict() gives
# only P(second) for two classes, and draws the class at random among probabilities within 1e-5 of each other.

model_predict.nnet <- function(model, newdata, options) {
  if (is.null(model$terms)) newdata <- nnet_matrix(model, newdata)
  raw <- stats::predict(model, newdata, type = "raw")
  levels <- model$lev
  if (is.null(levels)) {
    return(vector_or_matrix(raw))
  }
  probabilities <- if (ncol(raw) == 1L) cbind(1 - as.vector(raw), as.vector(raw)) else raw
  class_and_probabilities(unname(probabilities), levels)
}

#' A net fitted on a matrix does not know its columns' names, only how many they were.
#' @noRd
nnet_matrix <- function(model, newdata) {
  if (ncol(newdata) != model$n[1L]) {
    abort("the net was fitted on a matrix of ", model$n[1L], " columns and the sample has ", ncol(newdata), ": name ",
      "its columns, in their order, by inputs=, or fit it with a formula")
  }
  as.matrix(newdata)
}

model_options.nnet <- function(model, options) {
  refuse_options(options, "a nnet answers its values, or its class and probabilities")
}

model_packages.nnet <- function(model) {
  "nnet"
}

model_slim.nnet <- function(model) {
  drop_parts(model, c("residuals", "fitted.values", "Hessian"))
}
