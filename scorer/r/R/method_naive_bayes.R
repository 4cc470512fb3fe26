# naiveBayes (e1071): class and probabilities. A missing value is left out of the product.

model_predict.naiveBayes <- function(model, newdata, options) {
  ask <- function(type) {
    eval(as.call(c(quote(stats::predict), quote(model), quote(newdata), type = type, options)))
  }
  probabilities <- matrix(ask("raw"), ncol = length(model$levels))
  levels <- as.character(model$levels)
  class_and_probabilities(probabilities, levels, class = factor(as.character(ask("class")), levels = levels))
}

model_options.naiveBayes <- function(model, options) {
  refuse_options(options[setdiff(names(options), c("threshold", "eps"))],
    "a naiveBayes answers its class and probabilities (with threshold and eps)")
  options
}

model_inputs.naiveBayes <- function(model) {
  names(model$tables)
}

#' The columns of a table of frequencies are the levels; a number's mean and deviation have no names. Logicals, whose
#' levels are FALSE and TRUE, stay what they are.
#' @noRd
model_levels.naiveBayes <- function(model, sample) {
  levels <- Filter(Negate(is.null), lapply(model$tables, colnames))
  levels[!vapply(names(levels), function(name) is.logical(sample[[name]]), NA)]
}

model_packages.naiveBayes <- function(model) {
  "e1071"
}
