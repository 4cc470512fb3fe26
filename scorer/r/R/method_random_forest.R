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
