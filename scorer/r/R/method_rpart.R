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
