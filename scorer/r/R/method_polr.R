# polr (MASS): the probabilities of all levels and their first maximum (predict() draws the class at random among
# probabilities within 1e-5 of each other, and gives a bare vector for one row).

model_predict.polr <- function(model, newdata, options) {
  probabilities <- stats::predict(model, newdata, type = "probs")
  class_and_probabilities(matrix(probabilities, ncol = length(model$lev)), model$lev)
}

model_options.polr <- function(model, options) {
  refuse_options(options, "a polr answers its class and probabilities")
}

model_packages.polr <- function(model) {
  "MASS"
}

model_slim.polr <- function(model) {
  drop_parts(model, c("residuals", "fitted.values", "lp", "model", "Hessian", "na.action"))
}
