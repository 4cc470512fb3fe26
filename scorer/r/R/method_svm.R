# svm (e1071): a regression's value; a classification's class and, where it was fitted with them, the probabilities,
# which hide in an attribute with columns in order of appearance. Rows with missing values are left out.

model_predict.svm <- function(model, newdata, options) {
  odds <- isTRUE(model$compprob) && model$type < 2
  if (is.null(model$terms)) newdata <- as.matrix(newdata[model_inputs(model)])
  answer <- stats::predict(model, newdata, probability = odds)
  if (!odds) {
    return(structure(unname(answer), probabilities = NULL))
  }
  probabilities <- matrix(attr(answer, "probabilities")[, model$levels], ncol = length(model$levels))
  class_and_probabilities(probabilities, model$levels, class = factor(as.character(answer), levels = model$levels))
}

model_inputs.svm <- function(model) {
  if (is.null(model$terms)) colnames(model$SV) else terms_inputs(model$terms)
}

model_levels.svm <- function(model, sample) {
  refuse_text(text_inputs(model, sample), "svm")
  list()
}

model_options.svm <- function(model, options) {
  refuse_options(options, "an svm answers its value, or its class and the probabilities it was fitted with")
}

model_packages.svm <- function(model) {
  "e1071"
}

model_slim.svm <- function(model) {
  drop_parts(model, c("fitted", "residuals", "decision.values"))
}
