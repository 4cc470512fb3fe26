# Leaving out what predicting does not need: training data, residuals, captured frames. An lm of 232 MB without its
# training data is 7 kB and answers the same. A model that is slimmed must prove it: see slim_model().

#' The model without what predicting does not need, if its answers stay the same; else the model as it is.
#'
#' @param answer A function that takes a model and gives its answer for the sample.
#' @return A list: `model`, `before` and `after` in bytes (serialised), `why` NULL or why it was left as it is.
#' @noRd
slim_model <- function(model, answer) {
  before <- serialized_bytes(model)
  as_it_is <- function(why) list(model = model, before = before, after = before, why = why)
  slim <- tryCatch(model_slim(model), error = function(e) NULL)
  if (is.null(slim) || identical(slim, model)) {
    return(as_it_is("this class is not known to carry anything that predicting does not need"))
  }
  same <- tryCatch(identical(answer(slim), answer(model), num.eq = FALSE), error = function(e) FALSE)
  if (!same) {
    return(as_it_is("without its training data it does not answer the same"))
  }
  after <- serialized_bytes(slim)
  if (after >= before) {
    return(as_it_is("it is as slim as it can be"))
  }
  list(model = slim, before = before, after = after, why = NULL)
}

serialized_bytes <- function(model) {
  length(serialize(model, NULL))
}

#' A list model without the named parts, its terms without their captured frame, its call without data written into it.
#' @noRd
drop_parts <- function(model, parts) {
  for (part in intersect(parts, names(model))) model[[part]] <- NULL
  for (part in intersect(c("terms", "formula"), names(model))) {
    model[[part]] <- without_frame(model[[part]])
  }
  if (is.call(model$call)) model$call <- slim_call(model$call)
  model
}

#' A call without data and functions that do.call() wrote into it, its formula without the captured frame.
#' @noRd
slim_call <- function(call) {
  bulky <- vapply(as.list(call), function(argument) utils::object.size(argument) > 50000, NA)
  if (bulky[1L] || is.function(call[[1L]])) call[[1L]] <- quote(fit)
  call <- call[c(TRUE, !bulky[-1L])]
  for (i in seq_along(call)) {
    if (inherits(call[[i]], "formula")) call[[i]] <- without_frame(call[[i]])
  }
  call
}

#' A formula or terms whose environment holds only what the formula names, with what those functions name in turn.
#' @noRd
without_frame <- function(formula) {
  captured <- environment(formula)
  if (is.null(captured) || is_shared_environment(captured)) {
    return(formula)
  }
  kept <- new.env(parent = globalenv())
  wanted <- all.names(formula, unique = TRUE)
  while (length(wanted) > 0L) {
    name <- wanted[1L]
    wanted <- wanted[-1L]
    if (exists(name, envir = kept, inherits = FALSE) || is.null(home <- captured_home(name, captured))) next
    value <- get(name, envir = home, inherits = FALSE)
    if (is.function(value) && !is.primitive(value)) {
      wanted <- c(wanted, all.names(body(value), unique = TRUE))
      if (!is_shared_environment(environment(value))) environment(value) <- kept
      value <- utils::removeSource(value)
    }
    assign(name, value, envir = kept)
  }
  environment(formula) <- kept
  formula
}

is_shared_environment <- function(environment) {
  identical(environment, globalenv()) || identical(environment, baseenv()) || identical(environment, emptyenv()) ||
    isNamespace(environment)
}

captured_home <- function(name, environment) {
  while (!is_shared_environment(environment)) {
    if (exists(name, envir = environment, inherits = FALSE)) {
      return(environment)
    }
    environment <- parent.env(environment)
  }
  NULL
}
