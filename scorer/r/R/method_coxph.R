# coxph (survival): the risk relative to the sample's means, or with options = list(times = ) the survival at those
# times, for which the fit must carry its data (model = TRUE): the baseline hazard is made anew from them on each call.

model_predict.coxph <- function(model, newdata, options) {
  if (is.null(options$times)) {
    return(as.vector(stats::predict(model, newdata, type = "risk")))
  }
  times <- options$times
  curves <- survival::survfit(model, newdata = newdata, se.fit = FALSE)
  at <- summary(curves, times = times, extend = TRUE)$surv
  survival_columns(matrix(at, ncol = length(times), byrow = TRUE), times)
}

model_options.coxph <- function(model, options) {
  options <- survival_times(options, "a coxph answers its risk")
  strata <- !is.null(attr(model$terms, "specials")$strata)
  if (is.null(model$model) && (strata || !is.null(options$times))) {
    abort("for ", if (strata) "strata" else "survival at times", " predict() needs the data of the fit, which a fresh ",
      "R process does not have: fit it with coxph(..., model = TRUE)")
  }
  options
}

model_inputs.coxph <- function(model) {
  terms <- stats::delete.response(model$terms)
  clusters <- all.vars(attr(terms, "variables")[attr(terms, "specials")$cluster + 1L])
  setdiff(terms_inputs(terms), clusters)
}

model_packages.coxph <- function(model) {
  "survival"
}

#' The data, where the fit carries them, are what survival is made from.
#' @noRd
model_slim.coxph <- function(model) {
  if (!is.null(model$model)) {
    return(model)
  }
  drop_parts(model, c("linear.predictors", "residuals", "y", "x", "weights", "na.action"))
}
