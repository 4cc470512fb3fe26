# rpart: a regression's value; a classification's class (which priors and losses may move away from the most probable
# one, so it is asked for) and probabilities.

model_predict.rpart <- function(model, newdata, options) {
  if (!identical(model$method, "class")) {
    return(stats::predict(model, newdata))
  }
  levels <- attr(model, "ylevels")
  probabilities <- stats::predict(model, newdata, type = "prob")
  class_and_probabilities(probabilities, levels, stats::predict(model, newdata, type = "class"))
}

model_packages.rpart <- function(model) {
  "rpart"
}

model_options.rpart <- function(model, options) {
  refuse_options(options, "an rpart answers its value, or its class and probabilities")
}

model_levels.rpart <- function(model, sample) {
  as.list(attr(model, "xlevels"))
}

model_slim.rpart <- function(model) {
  drop_parts(model, c("where", "model", "x", "y"))
}
