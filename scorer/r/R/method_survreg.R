# survreg (survival): the expected time, or with options = list(times = ) the survival at those times.

model_predict.survreg <- function(model, newdata, options) {
  if (is.null(options$times)) {
    return(as.vector(stats::predict(model, newdata, type = "response")))
  }
  mean <- as.vector(stats::predict(model, newdata, type = "lp"))
  survival <- vapply(options$times, function(time) {
    1 - survival::psurvreg(rep(time, length(mean)), mean, model$scale, model$dist, model$parms)
  }, mean)
  survival_columns(matrix(survival, ncol = length(options$times)), options$times)
}

model_options.survreg <- function(model, options) {
  options <- survival_times(options, "a survreg answers its expected time")
  if (!is.null(options$times) && length(model$scale) > 1L) {
    abort("the model has a scale for each of its strata, and survival at times knows one only: give ",
      "package_model(predict = function(model, newdata) ...)")
  }
  options
}

model_packages.survreg <- function(model) {
  "survival"
}

model_slim.survreg <- function(model) {
  drop_parts(model, c("linear.predictors", "residuals", "y", "x", "weights", "model", "na.action"))
}
