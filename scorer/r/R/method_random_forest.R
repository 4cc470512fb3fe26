# randomForest: a regression's value; a classification's probabilities, and the class as the first maximum of votes over
# cutoff (predict() draws at random among equals).

model_predict.randomForest <- function(model, newdata, options) {
  if (identical(model$type, "regression")) {
    return(as.vector(stats::predict(model, newdata)))
  }
  probabilities <- matrix(stats::predict(model, newdata, type = "prob"), ncol = length(model$classes))
  weighed <- probabilities / rep(model$forest$cutoff, each = nrow(probabilities))
  class_and_probabilities(probabilities, model$classes, first_maximum(weighed, model$classes))
}

model_inputs.randomForest <- function(model) {
  if (!is.null(model$terms)) {
    return(terms_inputs(model$terms))
  }
  if (is.null(dim(model$importance))) names(model$importance) else rownames(model$importance)
}

#' Only columns used as they are: their names are the forest's.
#' @noRd
model_levels.randomForest <- function(model, sample) {
  Filter(is.character, model$forest$xlevels)
}

model_packages.randomForest <- function(model) {
  "randomForest"
}

model_options.randomForest <- function(model, options) {
  refuse_options(options, "a randomForest answers its value, or its class and probabilities")
}

model_slim.randomForest <- function(model) {
  drop_parts(model, c(
    "predicted", "y", "votes", "oob.times", "proximity", "inbag", "localImportance", "importanceSD", "mse", "rsq",
    "err.rate", "confusion", "test"
  ))
}
