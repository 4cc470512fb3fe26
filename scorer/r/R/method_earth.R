# earth: the response; where it was fitted on a factor, the response of each level (probabilities with
# glm = list(family = binomial), else the regressions' values) and their first maximum: the class that predict() gives,
# but also among missing values, where predict() fails.

model_predict.earth <- function(model, newdata, options) {
  response <- stats::predict(model, newdata, type = "response")
  levels <- model$levels
  if (!is.character(levels)) {
    return(vector_or_matrix(response))
  }
  probabilities <- if (ncol(response) == 1L) cbind(1 - as.vector(response), as.vector(response)) else unname(response)
  class_and_probabilities(probabilities, levels)
}

model_inputs.earth <- function(model) {
  if (is.null(model$terms)) model$namesx else terms_inputs(model$terms)
}

model_levels.earth <- function(model, sample) {
  known <- as.list(model$xlevels)
  refuse_text(setdiff(text_inputs(model, sample), names(known)), "earth")
  known
}

model_options.earth <- function(model, options) {
  refuse_options(options, "an earth answers its response, or its class and each level's response")
}

model_packages.earth <- function(model) {
  "earth"
}

model_slim.earth <- function(model) {
  drop_parts(model, c("data", "x", "y", "bx", "residuals", "fitted.values", "leverages"))
}
