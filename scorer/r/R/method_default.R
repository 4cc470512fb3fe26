# Any class: predict(model, newdata), with the options the modeller gave.

model_predict.default <- function(model, newdata, options) {
  if (length(options) == 0L) {
    return(stats::predict(model, newdata))
  }
  eval(as.call(c(quote(stats::predict), quote(model), quote(newdata), options)))
}

model_options.default <- function(model, options) {
  options
}

model_inputs.default <- function(model) {
  terms <- tryCatch(stats::terms(model), error = function(e) NULL)
  if (inherits(terms, "terms")) terms_inputs(terms)
}

model_levels.default <- function(model, sample) {
  if (is.list(model) && is.list(model$xlevels)) model$xlevels else list()
}

model_packages.default <- function(model) {
  predict_packages(model)
}

model_slim.default <- function(model) {
  model
}

model_tie_breaker.default <- function(model) {
  NULL
}
