# lm: predict(), or with interval = "prediction" | "confidence" the columns fit, lwr, upr.

model_predict.lm <- function(model, newdata, options) {
  if (is.null(options$interval)) {
    return(stats::predict(model, newdata))
  }
  stats::predict(model, newdata, interval = options$interval, level = options$level)
}
