# nls: the formula's value, without the gradient that self-starting functions attach.

model_predict.nls <- function(model, newdata, options) {
  as.vector(stats::predict(model, newdata))
}

model_options.nls <- function(model, options) {
  refuse_options(options, "an nls answers its formula's value")
}

#' The variables of the right-hand side that were columns; the others are parameters.
#' @noRd
model_inputs.nls <- function(model) {
  intersect(all.vars(nls_right_side(model)), names(model$dataClasses))
}

nls_right_side <- function(model) {
  formula <- stats::formula(model)
  formula[[length(formula)]]
}

model_packages.nls <- function(model) {
  packages_called(nls_right_side(model), environment(stats::formula(model)))
}
